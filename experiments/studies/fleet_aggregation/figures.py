"""Figures of the fleet study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from cosim.contract import Float
from cosim.controllers.aggregation import fleet_total
from cosim.controllers.aggregation.disaggregate import disaggregate
from cosim.experiments.figures import style
from cosim.experiments.studies.fleet_aggregation.day import Kept
from cosim.experiments.studies.fleet_aggregation.model import CHOSEN, ONE_UNIT, ONE_WEEK, Story

CARS, SIMPLE, SINGLE, BEST = "#000000", "#D55E00", "#56B4E9", "#009E73"
SHOWN_DAYS = 7
UNIT_COLOURS = {1: "#56B4E9", 2: "#E69F00", 4: "#CC79A7", 8: "#009E73"}


def write_figures(story: Story, kept: Mapping[str, Kept], folder: Path) -> dict[str, str]:
    """Write all figures; title by file name."""
    drawings = {
        "factors.png": draw_factors(story),
        "family.png": draw_family(story),
        "week.png": draw_week(story),
    }
    if kept:
        drawings["promise.png"] = draw_promise(kept)
    for name, drawing in drawings.items():
        style.save(drawing.figure, folder / name)
    return {name: f"{drawing.title}. {drawing.caption}" for name, drawing in drawings.items()}


MEASURES = {
    "rmse_charge_kw": "RMSE of charging [kW]",
    "rmse_level_kwh": "RMSE of level [kWh]",
    "cost_gap_percent": "cost gap [%]",
    "peak_error_kw": "peak error [kW]",
}
WEEKS = {"training": (SIMPLE, "o"), "validation": ("#7F7F7F", "^"), "test": (CARS, "s")}


def draw_factors(story: Story) -> style.Drawing:
    """Every error of one unit against the number of factors, in and out of sample."""
    places = np.arange(len(story.maps))
    one_week = story.cases[ONE_WEEK]
    with style.house_style():
        figure, (panels,) = style.sheet(style.Block(len(MEASURES), 2, 2.4, share_y=False), right_in=1.2, gap_in=1.0)
        for axes, (measure, text) in zip(panels, MEASURES.items(), strict=True):
            for name, (colour, mark) in WEEKS.items():
                error = [getattr(getattr(one, name), measure) for one in story.maps.values()]
                axes.plot(places, error, color=colour, marker=mark, markersize=4.5)
                alone = getattr(getattr(one_week, name), measure)
                axes.plot(places[-1:], [alone], mark, color=colour, mfc="white", clip_on=False, zorder=4)
            style.limit_line(axes, getattr(story.simple.test, measure), "simple, test")
            style.limit_line(axes, getattr(story.cases[CHOSEN].test, measure), "chosen, test", colour=BEST)
            style.panel_title(axes, text, "by factors per family (hours per factor)")
            _map_axis(axes, tuple(story.maps))
            if measure.startswith("rmse"):
                axes.set_ylim(bottom=0.0)
        title = "More factors fit the training weeks better; other weeks only up to a point"
        keys = [
            *(style.line_key(colour, f"{name} weeks", marker=mark) for name, (colour, mark) in WEEKS.items()),
            style.line_key("#7F7F7F", "hollow: fitted to one week", marker="o", mfc="white", linestyle=""),
        ]
        style.heading(figure, title, keys)
    caption = "One unit on the sum's bounds, as published; every map is fitted to the same training weeks."
    return style.Drawing(figure, title, caption)


def draw_family(story: Story) -> style.Drawing:
    """Test error of every aggregate against its validation error, by units."""
    with style.house_style():
        figure, (panels,) = style.sheet(style.Block(2, 2, 3.6, share_x=False))
        for axes, (x, what) in zip(panels, (("training", "training"), ("validation", "validation")), strict=True):
            for one in story.family:
                recipe = one.model.recipe
                axes.plot(
                    getattr(one, x).rmse_charge_kw, one.test.rmse_charge_kw,
                    marker="s" if recipe.base == "envelope" else "o", linestyle="", markersize=6,
                    color=UNIT_COLOURS[recipe.units], mfc=UNIT_COLOURS[recipe.units] if recipe.factors else "white",
                )  # fmt: skip
            chosen = story.cases[CHOSEN]
            axes.plot(getattr(chosen, x).rmse_charge_kw, chosen.test.rmse_charge_kw, "o", markersize=13, mfc="none",
                      color=style.BAD, markeredgewidth=1.4)  # fmt: skip
            most = max(axes.get_xlim()[1], axes.get_ylim()[1])
            axes.plot([0, most], [0, most], color=style.REFERENCE, linewidth=0.8, zorder=1)
            axes.set(xlabel=f"RMSE on the {what} weeks [kW]", xlim=(0, most), ylim=(0, most))
        panels[0].set_ylabel("RMSE on the test weeks [kW]")
        title = "Units of similar cars do more than finer maps, and their factors hold on other weeks"
        keys = [
            *(style.line_key(colour, f"{units} unit{'s' * (units > 1)}", marker="o", linestyle="")
              for units, colour in UNIT_COLOURS.items()),
            style.line_key("#7F7F7F", "envelope base", marker="s", linestyle=""),
            style.line_key("#7F7F7F", "without factors", marker="o", mfc="white", linestyle=""),
            style.line_key(style.BAD, "chosen by validation", marker="o", mfc="none", linestyle="", markersize=10),
        ]  # fmt: skip
        style.heading(figure, title, keys)
    caption = "One mark for every aggregate tried; on the line, other weeks are met as well as those on the axis."
    return style.Drawing(figure, title, caption)


def draw_week(story: Story) -> style.Drawing:
    """First test week: cars, simple sum and chosen aggregate, what the cars can follow, and the price."""
    week = story.test[0]
    hours = np.arange(24 * SHOWN_DAYS) / 24.0
    cars = fleet_total(week.reference).charge_kw
    shown = (("simple sum", story.simple, SIMPLE), ("chosen, one unit", story.cases[ONE_UNIT], SINGLE),
             ("chosen", story.cases[CHOSEN], BEST))  # fmt: skip
    with style.house_style():
        figure, ((*panels, price),) = style.sheet(style.Block(len(shown) + 1, 1, 1.35, share_y=False), right_in=0.3)
        top_kw = 0.0
        for axes, (name, one, colour) in zip(panels, shown, strict=True):
            wanted = one.model.schedule(week.fleet, week.price_eur_per_kwh).charge_kw
            axes.fill_between(hours, cars[: len(hours)], step="post", color="#D9D9D9", linewidth=0)
            axes.step(hours, wanted[: len(hours)], where="post", color=colour, linewidth=1.3)
            top_kw = max(top_kw, wanted.max(), cars.max())
            short_percent = 100.0 * disaggregate(week.fleet, wanted).short_kw.sum() / wanted.sum()
            style.panel_title(axes, name, f"{short_percent:.0f} % of the energy cannot be followed by the cars")
            axes.set_ylabel("charging [kW]")
        price.step(hours, 1000.0 * week.price_eur_per_kwh[: len(hours)], where="post", color=CARS)
        price.set(ylabel="EUR/MWh", xlabel="days from Monday 00:00", xlim=(0, SHOWN_DAYS))
        for axes in panels:
            axes.set(xlim=(0, SHOWN_DAYS), ylim=(0.0, 1.05 * top_kw))
        style.panel_title(price, "price", "what all of them follow")
        title = "A week that no aggregate has seen: what the cars do, and what one battery would do"
        keys = [style.area_key("#D9D9D9", "cars, each by itself"), style.line_key(SIMPLE, "simple sum"),
                style.line_key(SINGLE, "one unit with factors"), style.line_key(BEST, "chosen aggregate")]  # fmt: skip
        style.heading(figure, title, keys)
    return style.Drawing(figure, title, "First test week; hourly means.")


def draw_promise(kept: Mapping[str, Kept]) -> style.Drawing:
    """Promise and delivery on the feeder, one panel for every aggregate."""
    with style.house_style():
        figure, (panels,) = style.sheet(style.Block(len(kept), 2, 1.9), right_in=0.3)
        for axes, (name, one) in zip(panels, kept.items(), strict=True):
            hours: Float = 12.0 + np.arange(len(one.promise_kw), dtype=np.float64) * one.step_h
            axes.fill_between(hours, one.delivered_kw, step="post", color="#D9D9D9", linewidth=0)
            axes.step(hours, one.promise_kw, where="post", color=_colour_of(name))
            missed, all_kwh = one.metrics["missed_kwh"], one.metrics["promised_kwh"]
            style.panel_title(axes, name, f"{missed:.0f} of {all_kwh:.0f} kWh not delivered as promised")
            _night(axes, hours)
        for axes in panels[::2]:
            axes.set_ylabel("charging [kW]")
        title = "On the feeder: the promise of an aggregate, and what the cars could deliver of it"
        keys = [style.line_key(CARS, "promised for the day"), style.area_key("#D9D9D9", "delivered by the cars")]
        style.heading(figure, title, keys)
    return style.Drawing(figure, title, "Default day, perfect foresight, tariff in three bands; 15-minute means.")


def _colour_of(name: str) -> str:
    return {"simple": SIMPLE, "envelope": "#E69F00", "one unit with factors": SINGLE}.get(name, BEST)


def _night(axes: Axes, hours: Float) -> None:
    ticks = np.arange(12, 37, 4)
    axes.set_xticks(ticks, [f"{tick % 24:02d}:00" for tick in ticks])
    axes.set_xlim(hours[0], hours[0] + 24.0)


def _map_axis(axes: Axes, maps_h: Sequence[int]) -> None:
    """Name every map by its number of factors; evenly spaced."""
    names = [f"{168 // block_h}\n({block_h} h)" for block_h in maps_h]
    axes.set_xticks(range(len(names)), names)
