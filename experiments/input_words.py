"""What a scenario says of inputs that move, in words: the report's assumptions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cosim.experiments.scenario import Scenario, longest_delay_s
from cosim.experiments.words import counted
from cosim.feeders.chargers import THREE_PHASE_KW
from cosim.feeders.find import MODELS, OF_THE_FEEDER

_ANSWERS = {
    "cheapest": "in the cheapest hours before departure, the earliest first among equals",
    "immediate": "as soon and as fast as possible",
    "paced": "at an even pace until departure",
    "own_sun": "as if energy from the own roof cost what its export earns, then in the cheapest hours before departure",
}


def answers(scenario: Scenario) -> str:
    """How households charge, in words."""
    homes = scenario.households
    shares = {homes.response: 1.0} if homes.responses is None else homes.responses.shares()
    told = [(f"{100 * share:g} % " if share < 1 else "") + _ANSWERS[one] for one, share in shares.items() if share]
    longest_s = longest_delay_s(scenario)
    late = f", each start up to {longest_s:g} s late at random where it waited" if longest_s else ""
    return "; ".join(told) + late


def inputs(scenario: Scenario) -> Iterator[str]:
    """Source voltage, prices, power factor, what drivers announce and what meters tell, in words."""
    grid, homes, cars, meters = scenario.grid, scenario.households, scenario.ev, scenario.meters
    if grid.source_profile:
        yield f"The source's voltage follows {Path(grid.source_profile).name}."
    elif grid.source_swing_percent:
        yield (
            f"The source's voltage swings by {grid.source_swing_percent:g} % over the day, lowest at "
            f"{grid.source_lowest_h:g} h."
        )
    else:
        yield "The source's voltage is the same at every step."
    others = ", ".join(f"{100 * share:g} % {Path(name).name}" for name, share in scenario.tariff_shares.items())
    yield (
        f"Homes buy at the tariff {Path(scenario.tariff).name}{f' ({others})' if others else ''} and sell at "
        f"{scenario.export_eur_per_kwh:g} EUR/kWh."
    )
    if homes.power_factors:
        yield f"Power factors of household demand are those of {Path(homes.power_factors).name}."
    elif homes.profiles != OF_THE_FEEDER:
        spread = (
            f" with a deviation of {homes.power_factor_sd:g}, at most 1" if homes.power_factor_sd else " everywhere"
        )
        yield f"The power factor of household demand is {homes.power_factor:g}{spread}."
    if cars.single_phase_share is not None:
        chosen = {"random": "at random", "first": "the first of the home", "lightest": "the lightest so far"}
        yield (
            f"At {100 * cars.single_phase_share:g} % of homes with several phases the charger is on one of them, "
            f"{chosen[cars.phase_choice]}; chargers on three phases have {THREE_PHASE_KW:g} kW."
        )
    elif cars.sessions is None or cars.sessions in MODELS:
        yield "Chargers are on all phases of their homes."
    if cars.announced_departure_error_min or cars.announced_energy_error_percent:
        yield (
            f"Drivers announce their departure with errors of {cars.announced_departure_error_min:g} min and their "
            f"need with {cars.announced_energy_error_percent:g} %; they leave, and need, what is true."
        )
    if meters != type(meters)():
        yield (
            f"Meters have noise of {meters.noise_percent:g} % (powers, currents) and "
            f"{meters.voltage_noise_percent:g} % (voltages), come {counted(meters.latency_steps, 'step')} later, and "
            f"{100 * meters.missing_share:g} % of homes have none: the forecast stands for these."
        )
    else:
        yield "Every home is metered, exactly."
    if scenario.draws == "keyed":
        yield (
            "Every customer is drawn by name and date, from random numbers of its own: a larger share contains a "
            "smaller one, and homes draw shipped profiles with replacement."
        )
    if (loss := scenario.comm_loss).share:
        yield (
            f"{100 * loss.share:g} % of homes hear nothing from the controller for {loss.minutes:g} min of every day: "
            "they keep the fallback caps that it published, else what they heard last."
        )
