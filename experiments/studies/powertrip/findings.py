"""What the study's numbers say: every sentence depends on their signs and sizes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cosim.experiments.studies.powertrip.data import Place
from cosim.experiments.studies.powertrip.measures import change_percent
from cosim.experiments.studies.powertrip.model import Controlled, Weights

HARDLY_PERCENT = 1.0  # smaller changes are called none
NARROW_PU = 0.02  # room between the no-load voltage and the limit that is worth a warning
STATUTORY_V = 253.0
Case = Mapping[str, float]


def findings(
    place: Place, cases: Mapping[str, Case], decided: Mapping[str, Controlled], last: Weights, highest_pu: float
) -> list[str]:
    """Return the findings, a sentence or two each."""
    base, bare = cases["ev_all_pv"], cases["ev_no_pv"]
    rated, unbalance, voltage = (cases[name] for name in ("rated_control", "unbalance_current", "voltage_control"))
    said = [
        _of_roofs(bare, base),
        of_control(f"Control within the ratings, weights {last[0]:g}/{last[1]:g}", base, rated),
        _of_objective(base, rated, unbalance),
        _of_disagreement("Where `rated_control` lowers PUI", rated),
        _of_disagreement("Where the roofs lower PUI", base),
        _of_voltage(rated, voltage, highest_pu),
        _of_source(place),
    ]
    for name, found in decided.items():
        if found.certificate:
            told = found.certificate
            said.append(
                f"Fronts of `{name}` against the exact ones (convex programmes): hypervolume "
                f"{100 * told['hypervolume_ratio_mean']:.1f} % on the mean, "
                f"{100 * told['hypervolume_ratio_min']:.1f} % at worst; what is chosen gives away "
                f"{told['regret_mean_a']:.2f} A or {told['regret_kwh']:.2f} kWh."
            )
        if found.infeasible_steps:
            said.append(
                f"`{name}`: in {found.infeasible_steps} of {len(place.active)} active steps no setpoint keeps the "
                "voltage limits; the one that violates them least was taken."
            )
    return said


def moves(percent: float) -> str:
    """Say how a quantity moves: falls by, rises by, hardly changes."""
    if not np.isfinite(percent):
        return "had nothing to change from"
    if abs(percent) < HARDLY_PERCENT:
        return f"hardly changes ({percent:+.1f} %)"
    return f"{'falls' if percent < 0 else 'rises'} by {abs(percent):.0f} %"


def _sign(percent: float) -> int:
    return 0 if not np.isfinite(percent) or abs(percent) < HARDLY_PERCENT else int(np.sign(percent))


def _changes(before: Case, after: Case) -> tuple[float, float]:
    """Of f1 and of the neutral current [%]."""
    keys = ("f1_mean", "neutral_current_mean_a")
    f1, neutral = (change_percent(before[key], after[key]) for key in keys)
    return f1, neutral


def _of_roofs(bare: Case, base: Case) -> str:
    f1, neutral = _changes(bare, base)
    said = f"Adding the roofs, without any control: f1 {moves(f1)}, the neutral current {moves(neutral)}"
    before, after = bare["phase_current_mean_a"], base["phase_current_mean_a"]
    if _sign(f1) < 0 and after > before and neutral > 0.5 * f1:
        return (
            f"{said}: the index falls because the mean phase current, which it divides by, grows from {before:.1f} to "
            f"{after:.1f} A."
        )
    return f"{said}; the mean phase current, which the index divides by, goes from {before:.1f} to {after:.1f} A."


def of_control(who: str, base: Case, case: Case) -> str:
    """Say what a control does to the index and to the neutral current."""
    f1, neutral = _changes(base, case)
    said = (
        f"{who}: f1 {moves(f1)}, the neutral current {moves(neutral)}, {case['pv_use_percent']:.0f} % of the sun used"
    )
    if _sign(f1) == 0 > _sign(neutral):
        return f"{said}: the index does not see what is gained."
    if _sign(f1) < 0 < _sign(neutral):
        return f"{said}: the index praises what loads the neutral more."
    if _sign(f1) < 0 and neutral > 0.5 * f1:
        return f"{said}: much less is gained in the neutral than the index says."
    if _sign(f1) > 0:
        return f"{said}: its bounds and weights leave it worse than no control, by its own index."
    return f"{said}."


def _of_objective(base: Case, rated: Case, unbalance: Case) -> str:
    f1, neutral = _changes(base, unbalance)
    said = (
        f"The same control after `unbalance_current` (|I2|² + |I0|²): the neutral current {moves(neutral)} "
        f"({rated['neutral_current_mean_a']:.1f} A after the index, {unbalance['neutral_current_mean_a']:.1f} A after "
        f"this), f1 {moves(f1)} (mean PUI {rated['pui_mean_percent']:.1f} and {unbalance['pui_mean_percent']:.1f} %)"
    )
    if _sign(neutral) < 0 < _sign(f1):
        return f"{said}: the index calls worse what relieves the neutral."
    if _sign(neutral) < 0 and _sign(f1) < 0:
        return f"{said}: here both judge alike."
    return f"{said}: mean neutral current is not its objective, and gains nothing here." if neutral >= 0 else f"{said}."


def _of_disagreement(who: str, case: Case) -> str:
    praised, blamed = case["pui_praises_percent"], case["pui_blames_percent"]
    if not praised and not blamed:
        return f"{who} the neutral current never rises, nor the reverse: the two agree in every step and line."
    rise = f", by up to {case['neutral_rise_where_praised_max_a']:.1f} A" if praised else ""
    return (
        f"{who} the neutral current *rises* in {praised:.0f} % of steps and lines{rise}; the reverse holds in "
        f"{blamed:.0f} % (`disagreements.csv`)."
    )


def _of_voltage(rated: Case, voltage: Case, highest_pu: float) -> str:
    said = f"`rated_control` reaches {rated['voltage_max_pu']:.3f} pu"
    if rated["voltage_max_pu"] <= highest_pu:
        return f"{said} and so keeps the upper limit of {highest_pu:g} pu by itself."
    f1 = change_percent(rated["f1_mean"], voltage["f1_mean"])
    points = rated["pv_use_percent"] - voltage["pv_use_percent"]
    said += (
        f", above the limit of {highest_pu:g} pu. Under the limit (`voltage_control`, {voltage['voltage_max_pu']:.3f} "
        f"pu) {moves_points(points)} of the sun, and f1 {moves(f1)} against `rated_control`"
    )
    return f"{said}: what no longer fits was what levelled the phases." if _sign(f1) > 0 < points else f"{said}."


def moves_points(points: float) -> str:
    """Say how many points of the sun are lost or won."""
    return f"{abs(points):.0f} points {'less' if points >= 0 else 'more'}"


def _of_source(place: Place) -> str:
    no_load_pu = highest_no_load_pu(place)
    limit_pu = STATUTORY_V / place.feeder.nominal_voltage_v
    said = (
        f"The source stands at {place.feeder.network.source_pu:g} pu; without any load the highest customer has "
        f"{no_load_pu:.3f} pu, {abs(limit_pu - no_load_pu):.3f} pu {'below' if no_load_pu <= limit_pu else 'above'} "
        f"{STATUTORY_V:g} V"
    )
    if limit_pu - no_load_pu < NARROW_PU:
        return f"{said}: so little room for feed-in that voltage decides what roofs may give; see `--source-pu`."
    return f"{said}."


def highest_no_load_pu(place: Place) -> float:
    """Highest voltage of any customer without any load, of nominal."""
    nodes = [node for nodes in place.feeder.customer_nodes for node in nodes]
    return float(np.abs(place.feeder.network.no_load_v[nodes]).max() / place.feeder.nominal_voltage_v)
