"""Figures of the host-capacity study, as in the seed: before, after, charging over tariff bands; then costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from cosim.contract import Float
from cosim.controllers.caps import CapsProblem, CapsResult
from cosim.experiments.caps_output import uncontrolled_kw
from cosim.experiments.figures import style
from cosim.experiments.studies.host_capacity.data import HOURS, PUBLISHED_EV_KW, Houses
from cosim.experiments.studies.host_capacity.replication import Replication

INFLEXIBLE, CAR = "#9A9A9A", "#0072B2"
BANDS = {0.10: "#FFFFFF", 0.20: "#FFF3CC", 0.50: "#F9D5C4"}
BAND_NAMES = {0.10: "off-peak 0.10 $/kWh", 0.20: "shoulder 0.20", 0.50: "peak 0.50"}
WRONG, RANGE, RIGHT = "#D55E00", "#E69F00", "#009E73"


def draw_replication(found: Replication) -> dict[str, style.Drawing]:
    """Draw the seed's own cases; by name."""
    thirty, one = found.thirty, found.single
    kwh = one.houses.charged_kwh(one.charge_kw)
    bill = (
        f"{one.cost:.4f} $: {kwh['off_peak_charging_kwh']:.2f} kWh off-peak, "
        f"{kwh['shoulder_charging_kwh']:.2f} shoulder, {kwh['peak_charging_kwh']:.2f} peak"
    )
    return {
        "without_ev": draw_loads(
            thirty.houses,
            [("", np.zeros(HOURS), "")],
            "Before: thirty houses without cars just fit under the transformer's limit",
            "Bars: hourly total read from the published figure. Background: tariff bands.",
        ),
        "with_ev": draw_loads(
            thirty.houses,
            [(name, charge_kw, f"{thirty.houses.cost(charge_kw):.1f} $")
             for name, charge_kw in (("as published", PUBLISHED_EV_KW), ("corrected", thirty.charge_kw))],
            "After: both respect the limit, but only the corrected model follows the tariff",
            "Bars: hourly totals of thirty houses; the dashed line is the limit.",
        ),
        "charging": draw_charging(found),
        "cost": draw_costs(found),
        "single_house": draw_loads(
            one.houses,
            [("one house, 20 kWh", one.charge_kw, bill)],
            "One house: the first formulation has no solution, the corrected one fills the cheap hours",
            "Among hours of one price the earlier ones are filled first.",
        ),
    }  # fmt: skip


def draw_loads(houses: Houses, shown: Sequence[tuple[str, Float, str]], title: str, caption: str) -> style.Drawing:
    """Charging on top of inflexible load under the limit; a panel for each name, charging and text."""
    hour, base = np.arange(1, HOURS + 1), houses.inflexible_kw.sum(axis=1)
    figure, (panels,) = style.sheet(style.Block(len(shown), len(shown), 3.0), right_in=1.0)
    for axes, (name, charge_kw, text) in zip(panels, shown, strict=True):
        _bands(axes, houses)
        axes.bar(hour, base, width=0.9, color=INFLEXIBLE)
        axes.bar(hour, charge_kw, width=0.9, bottom=base, color=CAR)
        style.limit_line(axes, houses.limit_kw, f"limit {houses.limit_kw:g} kW" if axes is panels[-1] else "")
        axes.set_ylim(0, 1.12 * houses.limit_kw)
        axes.set_xlabel("hour of the day")
        style.panel_title(axes, name, text)
    panels[0].set_ylabel("load [kW]")
    cars = [style.area_key(CAR, "charging")] if any(charge_kw.any() for _, charge_kw, _ in shown) else []
    keys = [style.area_key(INFLEXIBLE, "inflexible load"), *cars, *_band_keys()]
    return style.finish(figure, title, caption, keys)


def draw_charging(found: Replication) -> style.Drawing:
    """Charging alone over the tariff bands, in four models."""
    houses = found.thirty.houses
    shown = (
        ("published", PUBLISHED_EV_KW, WRONG),
        ("first formulation, dearest that it admits", found.first_most.charge_kw.sum(axis=1), RANGE),
        ("first formulation, cheapest that it admits", found.first_least.charge_kw.sum(axis=1), RANGE),
        ("corrected", found.thirty.charge_kw, RIGHT),
    )
    figure, (panels,) = style.sheet(style.Block(4, 2, 1.9))
    for axes, (name, charge, colour) in zip(panels, shown, strict=True):
        _bands(axes, houses)
        axes.bar(np.arange(1, HOURS + 1), charge, width=0.9, color=colour)
        peak = houses.charged_kwh(charge)["peak_charging_kwh"]
        style.panel_title(axes, name, f"{houses.cost(charge):.1f} $, {peak:.1f} kWh in the peak")
    for axes in panels[::2]:
        axes.set_ylabel("charging [kW]")
    for axes in panels[2:]:
        axes.set_xlabel("hour of the day")
    title = "Charging over the tariff bands: white hours are the cheap ones"
    caption = (
        "Hourly charging of all thirty cars. The conditions of the first formulation hold for both of its panels and "
        "for everything between them: nothing in them prefers a cheap hour."
    )
    return style.finish(figure, title, caption, _band_keys())


def draw_costs(found: Replication) -> style.Drawing:
    """Cost of charging: published, range of the first formulation, corrected."""
    houses = found.thirty.houses
    low, high, right = found.first_least.cost, found.first_most.cost, found.thirty.cost
    published = houses.cost(PUBLISHED_EV_KW)
    figure, ((axes,),) = style.sheet(style.Block(1, 1, 1.9), header_in=0.6)
    axes.barh([2, 0], [published, right], color=[WRONG, RIGHT], height=0.6)
    axes.barh([1], [high - low], left=[low], color=RANGE, height=0.6)
    axes.set_yticks([2, 1, 0], ("published", "first formulation:\nany of these", "corrected"))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    texts = {published: f"{published:.1f} $", high: f"{low:.1f} to {high:.1f} $", right: f"{right:.1f} $"}
    for row, (value, text) in zip((2, 1, 0), texts.items(), strict=True):
        axes.annotate(text, (value, row), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, 1.15 * high)
    axes.set_xlabel("cost of charging thirty cars [$]")
    box = axes.get_position()
    axes.set_position((box.x0 + 0.05, box.y0, box.width - 0.05, box.height))
    title = f"Following the tariff costs {100 * (1 - right / published):.0f} % less than what was published"
    return style.finish(figure, title, "Energy that all thirty cars need, at the tariff of the hour it is drawn in.")


def draw_sized(problem: CapsProblem, result: CapsResult) -> style.Drawing:
    """Load against the limits, without control and as the caps let it be, phase by phase."""
    phases = problem.limit_kw.shape[1]
    edge_h = np.arange(problem.slots + 1) * problem.slot_h
    free_kw = problem.base_kw + uncontrolled_kw(problem) @ problem.car_share
    kept_kw = problem.base_kw + result.charge_kw @ problem.car_share
    figure, (panels,) = style.sheet(style.Block(phases, 1, 3.0 if phases == 1 else 1.8), right_in=1.0)
    for phase, axes in enumerate(panels):
        axes.stairs(problem.base_kw[:, phase], edge_h, fill=True, color="#D8D8D8")
        axes.stairs(free_kw[:, phase], edge_h, color=WRONG, linewidth=1.2)
        axes.stairs(kept_kw[:, phase], edge_h, color=CAR, linewidth=1.6)
        limit = problem.limit_kw[:, phase]
        axes.stairs(limit, edge_h, color=style.LIMIT, linestyle="--", baseline=None)
        axes.annotate(
            f"limit {limit.min():.0f} kW", (1.0, limit[-1]), xycoords=("axes fraction", "data"), xytext=(3, 0),
            textcoords="offset points", va="center", fontsize=8, color=style.LIMIT,
        )  # fmt: skip
        axes.set_xlim(0, edge_h[-1])
        axes.set_xticks(np.arange(0, edge_h[-1] + 0.1, 3 if edge_h[-1] > 8 else 1))
        axes.set_ylim(bottom=min(0.0, float(kept_kw.min())))
        axes.set_ylabel("load [kW]" if phases == 1 else f"phase {phase + 1} [kW]")
    panels[-1].set_xlabel("hours from the horizon's start")
    title = f"{problem.homes} homes, {problem.slots} slots: caps keep the load that households choose under the limit"
    keys = [
        style.area_key("#D8D8D8", "inflexible"),
        style.line_key(WRONG, "without caps"),
        style.line_key(CAR, "inside the caps", linewidth=1.6),
    ]
    caption = f"Withheld: {result.withheld_kwh:.0f} kWh, at least {result.withheld_bound_kwh:.0f} kWh by proof."
    return style.finish(figure, title, caption, keys)


def _bands(axes: Axes, houses: Houses) -> None:
    for hour, price in enumerate(houses.price, start=1):
        axes.axvspan(hour - 0.5, hour + 0.5, facecolor=BANDS[float(price)], edgecolor="none", zorder=0)
    axes.set_xlim(0.5, HOURS + 0.5)
    axes.set_xticks([1, *range(4, HOURS + 1, 4)])
    axes.grid(visible=False, axis="x")


def _band_keys() -> list[Artist]:
    return [style.area_key(BANDS[p], BAND_NAMES[p], edgecolor="#BBBBBB", linewidth=0.6) for p in sorted(BANDS)]
