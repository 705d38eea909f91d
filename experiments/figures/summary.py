"""What a comparison shows, in sentences made from its numbers."""

from __future__ import annotations

import math
from operator import itemgetter

import numpy as np

from cosim.experiments.figures.loading import machine
from cosim.experiments.figures.runs import Runs, clock
from cosim.experiments.figures.voltage import limits_v
from cosim.experiments.words import counted, listed, minutes, place_words, signed, span_words


def paragraph(runs: Runs) -> list[str]:
    """Sentences for the head of the report.

    Parameters
    ----------
    runs : Runs
        Runs with at least one step.

    Returns
    -------
    list of str
        What was run; the troubles of the reference run, and where; what the others changed, and at which price; what to
        distrust.
    """
    sentences = [_setting(runs), _reference(runs), _places(runs)]
    others = [label for label in runs.labels if label != runs.reference_label and runs.trajectories[label].complete]
    if others:
        sentences += [_remedy(runs, others, *trouble) for trouble in _TROUBLES]
        sentences += [_unbalance(runs, others), _price(runs, others)]
    sentences.append(_distrust(runs))
    return [sentence for sentence in sentences if sentence]


_CENT = 0.005
_TROUBLES = (
    ("transformer_overload_min", "Overload of the transformer"),
    ("line_overload_min", "Overload of a line"),
    ("overvoltage_min", "Voltage above its limit"),
)


def _setting(runs: Runs) -> str:
    longest = max((run for _, run in runs), key=lambda run: run.steps)
    day, feeder = longest.exogenous, longest.feeder
    cars, roofs = len(np.unique(day.sessions.customer)), int((day.inverter_kva > 0).sum())
    things = f"{counted(len(feeder.customers), 'home')}, {counted(cars, 'car')}, {counted(roofs, 'roof')}"
    met = f"{len(runs)} controllers were run on the same day" if len(runs) > 1 else f"{runs.labels[0]} ran"
    return (
        f"On {feeder.name} ({things}) {met}: "
        f"{span_words(day.start, day.step_min, longest.steps)}, in steps of {day.step_min:g} min."
    )


def _reference(runs: Runs) -> str:
    label = runs.reference_label
    feeder = runs.reference.feeder
    who = "Without control" if label == "none" else f"Under {label}"
    parts = []

    def passed(metric: str, words: str) -> str:
        lasting_min = runs.metric(label, metric)
        return f", {words} for {minutes(lasting_min)}" if lasting_min > 0 else ""

    peak = runs.metric(label, "transformer_peak_percent")
    if math.isfinite(peak):
        length = passed("transformer_overload_min", "above its rating")
        parts.append(f"the worst phase of the {machine(runs)} reaches {peak:.0f} % of its rating{length}")
    if runs.binding is not None and runs.binding.peak == "line_peak_percent":
        length = passed(runs.binding.over, "above its rating")
        parts.append(f"{runs.binding.words} binds at {runs.metric(label, runs.binding.peak):.0f} %{length}")
    seen, quickly = (_voltages(runs, label, ending) for ending in ("_pu", "_1min_pu"))
    if seen:
        limit = "their upper limits" if np.ptp(feeder.customer_nominal_v) else f"{limits_v(feeder)[0]:.5g} V"
        hidden = f" ({quickly} in steps of 1 min)" if quickly else ""
        above = passed("overvoltage_min", f"some above {limit}") + passed(
            "undervoltage_min", "some below their lower limit"
        )
        parts.append(f"homes see {seen}{hidden}{above}")
    return f"{who}, {listed(parts)}." if parts else ""


def _voltages(runs: Runs, label: str, ending: str) -> str:
    """Lowest and highest of all homes, in volts where all have one nominal voltage; empty where unknown."""
    low, high = (runs.metric(label, f"voltage_{end}{ending}") for end in ("min", "max"))
    feeder = runs.reference.feeder
    if not math.isfinite(low) or not math.isfinite(high):
        return ""
    if np.ptp(feeder.customer_nominal_v) > 0:
        return f"{low:.3f} to {high:.3f} pu"
    return f"{low * feeder.nominal_voltage_v:.0f} to {high * feeder.nominal_voltage_v:.0f} V"


_EXTREMES = {
    "voltage_min_pu": "lowest voltage", "voltage_max_pu": "highest voltage", "vuf_max_percent": "voltage unbalance",
    "transformer_peak_percent": "transformer", "line_peak_percent": "line",
    "neutral_current_max_a": "neutral current", "neutral_voltage_max_v": "voltage of the neutral",
}  # fmt: skip


def _places(runs: Runs) -> str:
    """Where and when the reference run is worst."""
    run = runs.reference
    said = [
        f"{_EXTREMES[metric]}: {place_words(place)}, {clock(run, place['step'])}"
        for metric, place in runs.worst.get(runs.reference_label, {}).items()
        if metric in _EXTREMES
    ]
    return f"Worst places under {runs.reference_label}: {'; '.join(said)}." if said else ""


def _remedy(runs: Runs, others: list[str], metric: str, trouble: str) -> str:
    """Who removes a trouble of the reference run, or who leaves least of it."""
    before = runs.metric(runs.reference_label, metric)
    left = runs.known(metric, others)
    if not left or not math.isfinite(before):
        return ""
    if before <= 0:
        caused = {label: value for label, value in left.items() if value > 0}
        named = ", ".join(f"{label} ({minutes(value)})" for label, value in caused.items())
        return f"{trouble} is caused by {named}." if caused else ""
    cured = [label for label, value in left.items() if value <= 0]
    if cured:
        rest = ", ".join(f"{label} {minutes(value)}" for label, value in left.items() if value > 0)
        return f"{trouble} is gone under {listed(cured)}" + (f"; left under others: {rest}." if rest else ".")
    least = min(left, key=lambda label: left[label])
    if left[least] >= before:
        return f"{trouble} is shortened by no controller."
    return f"{trouble} is shortest under {least}: {minutes(left[least])} instead of {minutes(before)}."


def _unbalance(runs: Runs, others: list[str]) -> str:
    said = []
    for metric, name, pattern in (
        ("vuf_p95_percent", "voltage unbalance (VUF, 95 %)", "{:.2f} %"),
        ("neutral_current_p95_a", "neutral current (95 %)", "{:.0f} A"),
    ):
        before, known = runs.metric(runs.reference_label, metric), runs.known(metric, others)
        found, value = min(known.items(), key=itemgetter(1), default=("", math.nan))
        if before > 0 and value < 0.99 * before:
            change = signed(100 * (value / before - 1), ".0f")
            said.append(f"{name} with {found}, {pattern.format(value)} ({change} %)")
    return f"Lowest {' and lowest '.join(said)}." if said else ""


def _price(runs: Runs, others: list[str]) -> str:
    before = runs.metric(runs.reference_label, "cost_eur")
    costs = runs.known("cost_eur", others)
    if not costs or not math.isfinite(before):
        return ""
    cheapest, dearest = min(costs, key=lambda x: costs[x]), max(costs, key=lambda x: costs[x])
    less, more = costs[cheapest] - before, costs[dearest] - before
    text = f"All homes pay {before:.2f} EUR under {runs.reference_label}"
    text += f"; least under {cheapest}, {signed(less, '.2f')} EUR" if less < -_CENT else "; no controller lowers that"
    text += f"; most under {dearest}, {signed(more, '.2f')} EUR" if more > _CENT else ""
    short = {label: runs.metric(label, "ev_unserved_kwh") for label in [runs.reference_label, *others]}
    named = ", ".join(f"{label} {value:.1f} kWh" for label, value in short.items() if value >= 0.05)
    lost = {label: runs.metric(label, "pv_curtailed_kwh") for label in others}
    cut = ", ".join(f"{label} {value:.1f} kWh" for label, value in lost.items() if value >= 0.05)
    text += f"; missing in cars at departure: {named}" if named else "; no car leaves short"
    return text + (f"; sun curtailed: {cut}." if cut else "; no sun is curtailed.")


def _distrust(runs: Runs) -> str:
    stopped = [f"{label} at {runs.stopped(label)}" for label, run in runs if not run.complete]
    degraded = [f"{label} {int(run.degraded.sum())}" for label, run in runs if run.degraded.any()]
    invalid = [label for label, run in runs if run.invalid]
    said = [f"Invalid, not to be used: {', '.join(invalid)}." if invalid else ""]
    said += [f"Stopped early: {', '.join(stopped)}; its figures are of a part of the day." if stopped else ""]
    said.append(f"Degraded steps: {', '.join(degraded)} (reasons below)." if degraded else "No step is degraded.")
    return " ".join(part for part in said if part)
