"""What every measure is, in sentences, and in which group of the scoreboard it stands."""

from __future__ import annotations

GROUPS: dict[str, tuple[str, ...]] = {
    "Voltage": ("voltage_min_pu", "voltage_max_pu", "overvoltage_min", "en50160_compliant_customers_percent"),
    "Unbalance": (
        "vuf_p95_percent", "vuf_p95_worst_bus_percent", "vuf_max_percent", "v0_p95_percent", "pvur_max_percent",
        "lvur_max_percent", "neutral_current_p95_a", "i2_p95_a", "pui_mean_percent",
    ),
    "Transformer and lines": (
        "transformer_peak_percent", "transformer_overload_min", "transformer_peak_kva", "transformer_hot_spot_max_c",
        "transformer_ageing_h", "line_peak_percent", "line_overload_min", "losses_kwh",
    ),
    "Cars, bills and fairness": (
        "ev_delivered_kwh", "ev_unserved_kwh", "ev_unservable_kwh", "ev_served_min_percent", "jain_ev_served",
        "cost_eur", "withheld_kwh",
    ),
    "Sun and energy": (
        "pv_available_kwh", "pv_curtailed_kwh", "pv_curtailed_max_home_percent", "import_kwh", "export_kwh",
    ),
    "Promise and honesty": (
        "setpoint_error_max_kw", "promise_error_max_kva", "solve_gap_max", "degraded_steps", "balance_error_percent",
        "hypervolume_ratio_mean", "hypervolume_ratio_min", "hypervolume_ratio_above_one", "regret_mean_a", "regret_kwh",
    ),
}  # fmt: skip
"""Measures in the order of the report; what is not named here follows under ``Others``."""

DEFINITIONS: dict[str, str] = {
    "voltage_min_pu": "Lowest voltage at any customer's terminal and step, of the feeder's nominal phase-to-neutral "
    "voltage. Marked below 0.90 (EN 50160).",
    "voltage_max_pu": "Highest voltage at any customer's terminal and step. Marked above 1.10 (EN 50160).",
    "overvoltage_min": "Minutes in which at least one customer is above 1.10 pu.",
    "en50160_compliant_customers_percent": "Customers whose 10-minute rms voltages all lie within +10/-15 % and 95 % "
    "of them within ±10 % of nominal. The standard judges a week; a day is judged by the same shares (day-equivalent).",
    "vuf_p95_percent": "Voltage unbalance factor 100·|V2/V1|, 10-minute rms, at customers' buses with three phases: 95 "
    "% of all windows and buses are below. Limit 2 % (EN 50160).",
    "vuf_p95_worst_bus_percent": "The same at the bus where it is largest.",
    "vuf_max_percent": "Largest voltage unbalance factor of any bus and 10-minute window.",
    "v0_p95_percent": "Zero-sequence voltage 100·|V0/V1|, 10-minute rms, 95 % of windows and buses are below.",
    "pvur_max_percent": "Largest deviation of a phase voltage's magnitude from the mean of the three (IEEE 141).",
    "lvur_max_percent": "Largest deviation of a line-to-line voltage from the mean of the three (NEMA MG 1).",
    "neutral_current_p95_a": "Residual current |Ia+Ib+Ic| at the monitored branches (the transformer's terminals "
    "unless said otherwise), 95 % of steps are below.",
    "i2_p95_a": "Negative-sequence current at the same places, 95 % of steps are below.",
    "pui_mean_percent": "Mean deviation of phase currents from their mean, where the mean exceeds 5 % of the rating. A "
    "ratio of magnitudes: read it beside the neutral current.",
    "transformer_peak_percent": "Largest current of the worst phase at the low-voltage terminals over rated current.",
    "transformer_overload_min": "Minutes in which a phase is above rated current.",
    "transformer_peak_kva": "Largest apparent power of all phases together.",
    "transformer_hot_spot_max_c": "Highest winding hot spot after IEC 60076-7 from the worst phase's current, starting "
    "from the steady state of the day's mean. Marked above 120 °C, the limit of normal cyclic loading.",
    "transformer_ageing_h": "Hours of insulation life used, 1 h per hour at 98 °C.",
    "line_peak_percent": "Largest current of the worst phase of the worst rated line over its rating.",
    "line_overload_min": "Minutes in which a rated line has a phase above its rating.",
    "losses_kwh": "Energy lost in lines and transformer, from the elements' own currents.",
    "ev_delivered_kwh": "Energy put into batteries by departure.",
    "ev_unserved_kwh": "Energy wanted by departure, possible, and not delivered.",
    "ev_unservable_kwh": "Part of the wanted energy that no control could have delivered within the stay.",
    "ev_served_min_percent": "Share of the possible energy that the worst-served home got.",
    "jain_ev_served": "Jain's index of the homes' shares of served energy: 1 where all are served alike.",
    "cost_eur": "All homes together: import × tariff - export × 0.05 EUR/kWh + unserved energy × 0.50 EUR/kWh.",
    "withheld_kwh": "Freedom taken by import caps: connection less cap, summed over the time with a car plugged in.",
    "pv_available_kwh": "What the roofs could have given.",
    "pv_curtailed_kwh": "Of it, what was not taken.",
    "pv_curtailed_max_home_percent": "Curtailed share at the home that loses the largest share of its own.",
    "import_kwh": "Energy drawn at the meters; consumption and generation of a home cancel within a step.",
    "export_kwh": "Energy fed in at the meters.",
    "setpoint_error_max_kw": "Largest net import above its cap. Not shown for a run that sets no cap.",
    "promise_error_max_kva": "Largest difference between planned and delivered power at the transformer. Not shown for "
    "a run that promises nothing.",
    "hypervolume_ratio_mean": "Share of the reference's hypervolume that the fronts of decisions reach, mean of the "
    "decisions that were judged; a front better than its reference counts as 1. The exact front that judges also seeds "
    "the search while there is sun, so this says how much of it was kept, not how well the search does alone: for "
    "that, run pareto with certificate_seeds = false. A long reference is the same search, run longer.",
    "hypervolume_ratio_min": "The same of the worst decision.",
    "hypervolume_ratio_above_one": "Decisions whose front is better than its reference: there the reference, and what "
    "is said of regret, fall short.",
    "regret_mean_a": "How much less unbalance current the reference offers at the chosen points' curtailment, mean of "
    "the decisions that were judged.",
    "regret_kwh": "How much less curtailment the reference offers at the chosen points' unbalance current, sum of the "
    "decisions that were judged.",
    "solve_gap_max": "Largest relative gap between a solver's answer and its proven bound. Not shown for rules.",
    "degraded_steps": "Steps with a fallback, a clipped setpoint, curves that did not settle, or power not served as "
    "requested.",
    "balance_error_percent": "How far import + generation - consumption misses the losses, in percent of the losses: a "
    "check of the simulation, not of the controller. Marked above 0.1 %.",
}

CHECKS = frozenset({"balance_error_percent"})
"""Measures that judge the simulation: a limit, but no winner."""
