"""What each metric means to a reader: unit, which way is better, which limit, whether it is a headline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How to read a metric.

    Attributes
    ----------
    meaning : str
        In a few words.
    unit : str
        As printed.
    better : str
        ``low``, ``high`` or empty where neither is better as such.
    limit : float or None
        Value that must not be passed in the bad direction.
    headline : bool
        Shown in the terminal.
    digits : int
        After the decimal point.
    """

    meaning: str
    unit: str
    better: str = "low"
    limit: float | None = None
    headline: bool = False
    digits: int = 1

    def violated(self, value: float) -> bool:
        """Whether the value passes the limit."""
        if self.limit is None or math.isnan(value):
            return False
        return value < self.limit - 1e-9 if self.better == "high" else value > self.limit + 1e-9


METRICS: dict[str, Metric] = {
    "voltage_min_pu": Metric("lowest voltage at a customer", "pu", "high", 0.90, True, 4),
    "voltage_max_pu": Metric("highest voltage at a customer", "pu", "low", 1.10, True, 4),
    "overvoltage_min": Metric("time with a customer above 1.10 pu", "min", "low", 0.0, True, 0),
    "en50160_compliant_customers_percent": Metric(
        "customers within EN 50160 (day-equivalent)", "%", "high", 100.0, True
    ),
    "vuf_max_percent": Metric("voltage unbalance V2/V1, largest", "%", "low", 2.0, False, 3),
    "vuf_p95_percent": Metric("voltage unbalance V2/V1, 95 %", "%", "low", 2.0, True, 3),
    "vuf_p95_worst_bus_percent": Metric("voltage unbalance V2/V1, 95 % at the worst bus", "%", "low", 2.0, False, 3),
    "v0_p95_percent": Metric("zero-sequence V0/V1, 95 %", "%", "low", None, False, 3),
    "pvur_max_percent": Metric("phase voltage unbalance PVUR, largest", "%", "low", None, False, 2),
    "lvur_max_percent": Metric("line voltage unbalance LVUR, largest", "%", "low", None, False, 2),
    "pui_mean_percent": Metric("phase current unbalance PUI, mean", "%", "low"),
    "neutral_current_p95_a": Metric("neutral current, 95 %", "A", "low", None, True),
    "i2_p95_a": Metric("negative-sequence current, 95 %", "A", "low"),
    "transformer_peak_kva": Metric("transformer, largest apparent power", "kVA", "low", None, True),
    "transformer_peak_percent": Metric("transformer, worst phase's peak", "% of rating", "low", 100.0, True),
    "transformer_overload_min": Metric("time with a phase above rating", "min", "low", 0.0, True, 0),
    "transformer_hot_spot_max_c": Metric("hot-spot, highest", "°C", "low", 120.0, True),
    "transformer_ageing_h": Metric("ageing (IEC 60076-7)", "h", "low", None, False, 2),
    "line_peak_percent": Metric("worst line's worst phase", "% of rating", "low", 100.0, True),
    "line_overload_min": Metric("time with a line above rating", "min", "low", 0.0, False, 0),
    "losses_kwh": Metric("losses of lines and transformer", "kWh", "low", None, True, 2),
    "balance_error_percent": Metric("energy that the balance misses", "%", "low", 0.1, False, 6),
    "import_kwh": Metric("import at the meters", "kWh", ""),
    "export_kwh": Metric("export at the meters", "kWh", ""),
    "pv_available_kwh": Metric("sun available", "kWh", ""),
    "pv_curtailed_kwh": Metric("sun curtailed", "kWh", "low", None, True, 2),
    "pv_curtailed_max_home_percent": Metric("sun curtailed at the worst home", "%", "low", None, True),
    "ev_delivered_kwh": Metric("delivered to cars", "kWh", "high", None, True),
    "ev_unserved_kwh": Metric("missing in cars at departure", "kWh", "low", None, True, 2),
    "ev_unservable_kwh": Metric("beyond any control's reach", "kWh", ""),
    "ev_served_min_percent": Metric("least served car", "%", "high", None, True),
    "jain_ev_served": Metric("fairness of service (Jain)", "1", "high", None, False, 4),
    "cost_eur": Metric("cost to all homes", "EUR", "low", None, True, 2),
    "withheld_kwh": Metric("freedom withheld by caps", "kWh", "low", None, True, 0),
    "setpoint_error_max_kw": Metric("net import above its cap, largest", "kW", "low", None, False, 2),
    "promise_error_max_kva": Metric("planned against delivered, largest", "kVA", "low", None, False, 2),
    "solve_gap_max": Metric("largest solver gap", "1", "low", None, False, 4),
    "degraded_steps": Metric("degraded steps", "1", "low", 0.0, True, 0),
    "hypervolume_ratio_mean": Metric("hypervolume of the fronts, mean", "of reference", "high", None, False, 4),
    "hypervolume_ratio_min": Metric("hypervolume of the fronts, least", "of reference", "high", None, False, 4),
    "hypervolume_ratio_above_one": Metric("fronts better than their reference", "1", "", None, False, 0),
    "regret_mean_a": Metric("unbalance current given away, mean", "A", "low", None, False, 2),
    "regret_kwh": Metric("sun given away", "kWh", "low", None, False, 2),
}


def best(name: str, values: Mapping[str, float]) -> set[str]:
    """Labels with the best value as printed; none where all are alike or neither direction is better."""
    metric = METRICS.get(name, Metric("", "", ""))
    finite = {label: round(value, metric.digits) for label, value in values.items() if math.isfinite(value)}
    if not metric.better or len(set(finite.values())) < 2:
        return set()
    target = min(finite.values()) if metric.better == "low" else max(finite.values())
    return {label for label, value in finite.items() if value == target}
