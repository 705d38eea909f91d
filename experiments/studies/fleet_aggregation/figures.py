"""Figures of the fleet study."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cosim.controllers.aggregation import fleet_total
from cosim.controllers.aggregation.disaggregate import disaggregate
from cosim.experiments.figures import style
from cosim.experiments.studies.fleet_aggregation.checks import Kept
from cosim.experiments.studies.fleet_aggregation.model import CHOSEN, ONE_UNIT, ONE_WEEK, Fitted

CARS, SIMPLE, SINGLE, BEST, AREA = "#000000", "#D55E00", "#56B4E9", "#009E73", "#D9D9D9"
SHOWN_DAYS = 7
UNIT_COLOURS = {1: "#56B4E9", 2: "#E69F00", 4: "#CC79A7", 8: "#009E73"}
KEPT_COLOURS = {"simple": SIMPLE, "envelope": "#E69F00", "one unit with factors": SINGLE}
MEASURES = {
    "rmse_charge_kw": "RMSE of charging [kW]",
    "rmse_level_kwh": "RMSE of level [kWh]",
    "cost_gap_percent": "cost gap [%]",
    "peak_error_kw": "peak error [kW]",
}
WEEKS = {"training": (SIMPLE, "o"), "validation": ("#7F7F7F", "^"), "test": (CARS, "s")}


def draw_factors(fitted: Fitted) -> style.Drawing:
    """Every error of one unit against the number of factors, in and out of sample."""
    places = np.arange(len(fitted.maps))
    names = [f"{168 // block_h}\n({block_h} h)" for block_h in fitted.maps]
    figure, (panels,) = style.sheet(style.Block(len(MEASURES), 2, 2.4, share_y=False), right_in=1.2, gap_in=1.0)
    for axes, (measure, text) in zip(panels, MEASURES.items(), strict=True):
        for name, (colour, mark) in WEEKS.items():
            error = [getattr(getattr(one, name), measure) for one in fitted.maps.values()]
            axes.plot(places, error, color=colour, marker=mark, markersize=4.5)
            alone = getattr(getattr(fitted.judged[ONE_WEEK], name), measure)
            axes.plot(places[-1:], [alone], mark, color=colour, mfc="white", clip_on=False, zorder=4)
        style.limit_line(axes, getattr(fitted.judged["simple"].test, measure), "simple, test")
        style.limit_line(axes, getattr(fitted.judged[CHOSEN].test, measure), "chosen, test", colour=BEST)
        style.panel_title(axes, text, "by factors per family (hours per factor)")
        axes.set_xticks(places, names)
        if measure.startswith("rmse"):
            axes.set_ylim(bottom=0.0)
    title = "More factors fit the training weeks better; other weeks only up to a point"
    keys = [
        *(style.line_key(colour, f"{name} weeks", marker=mark) for name, (colour, mark) in WEEKS.items()),
        style.line_key("#7F7F7F", "hollow: fitted to one week", marker="o", mfc="white", linestyle=""),
    ]
    caption = "One unit on the sum's bounds, as published; every map is fitted to the same training weeks."
    return style.finish(figure, title, caption, keys)


def draw_family(fitted: Fitted) -> style.Drawing:
    """Test error of every aggregate against its training and its validation error, by units."""
    chosen = fitted.judged[CHOSEN]
    figure, (panels,) = style.sheet(style.Block(2, 2, 3.6, share_x=False))
    for axes, weeks in zip(panels, ("training", "validation"), strict=True):
        for one in fitted.family:
            recipe, colour = one.model.recipe, UNIT_COLOURS[one.model.recipe.units]
            axes.plot(
                getattr(one, weeks).rmse_charge_kw, one.test.rmse_charge_kw, "s" if recipe.base == "envelope" else "o",
                markersize=6, color=colour, mfc=colour if recipe.factors else "white",
            )  # fmt: skip
        axes.plot(getattr(chosen, weeks).rmse_charge_kw, chosen.test.rmse_charge_kw, "o", markersize=13, mfc="none",
                  color=style.BAD, markeredgewidth=1.4)  # fmt: skip
        most = max(axes.get_xlim()[1], axes.get_ylim()[1])
        axes.plot([0, most], [0, most], color=style.REFERENCE, linewidth=0.8, zorder=1)
        axes.set(xlabel=f"RMSE on the {weeks} weeks [kW]", xlim=(0, most), ylim=(0, most))
    panels[0].set_ylabel("RMSE on the test weeks [kW]")
    title = "Units of similar cars do more than finer maps, and their factors hold on other weeks"
    keys = [
        *(style.line_key(colour, f"{units} unit{'s' * (units > 1)}", marker="o", linestyle="")
          for units, colour in UNIT_COLOURS.items()),
        style.line_key("#7F7F7F", "envelope base", marker="s", linestyle=""),
        style.line_key("#7F7F7F", "without factors", marker="o", mfc="white", linestyle=""),
        style.line_key(style.BAD, "chosen by validation", marker="o", mfc="none", linestyle="", markersize=10),
    ]  # fmt: skip
    caption = "One mark for every aggregate tried; on the line, other weeks are met as well as those on the axis."
    return style.finish(figure, title, caption, keys)


def draw_week(fitted: Fitted) -> style.Drawing:
    """First test week: cars, simple sum and chosen aggregate, what the cars can follow, and the price."""
    week, shown_h = fitted.test[0], 24 * SHOWN_DAYS
    days = np.arange(shown_h) / 24.0
    cars = fleet_total(week.reference).charge_kw
    shown = {"simple sum": ("simple", SIMPLE), "chosen, one unit": (ONE_UNIT, SINGLE), "chosen": (CHOSEN, BEST)}
    figure, ((*panels, price),) = style.sheet(style.Block(len(shown) + 1, 1, 1.35, share_y=False), right_in=0.3)
    top_kw = cars.max()
    for axes, (name, (case, colour)) in zip(panels, shown.items(), strict=True):
        wanted = fitted.judged[case].model.schedule(week.fleet, week.price_eur_per_kwh).charge_kw
        axes.fill_between(days, cars[:shown_h], step="post", color=AREA, linewidth=0)
        axes.step(days, wanted[:shown_h], where="post", color=colour, linewidth=1.3)
        top_kw = max(top_kw, wanted.max())
        short_percent = 100.0 * disaggregate(week.fleet, wanted).short_kw.sum() / wanted.sum()
        style.panel_title(axes, name, f"{short_percent:.0f} % of the energy cannot be followed by the cars")
        axes.set_ylabel("charging [kW]")
    for axes in panels:
        axes.set_ylim(0.0, 1.05 * top_kw)
    price.step(days, 1000.0 * week.price_eur_per_kwh[:shown_h], where="post", color=CARS)
    price.set(ylabel="EUR/MWh", xlabel="days from Monday 00:00", xlim=(0, SHOWN_DAYS))
    style.panel_title(price, "price", "what all of them follow")
    title = "A week that no aggregate has seen: what the cars do, and what one battery would do"
    keys = [style.area_key(AREA, "cars, each by itself"), style.line_key(SIMPLE, "simple sum"),
            style.line_key(SINGLE, "one unit with factors"), style.line_key(BEST, "chosen aggregate")]  # fmt: skip
    return style.finish(figure, title, "First test week; hourly means.", keys)


def draw_promise(kept: Mapping[str, Kept]) -> style.Drawing:
    """Promise and delivery on the feeder, one panel for every aggregate."""
    clock_h = np.arange(12, 37, 4)
    figure, (panels,) = style.sheet(style.Block(len(kept), 2, 1.9), right_in=0.3)
    for axes, (name, one) in zip(panels, kept.items(), strict=True):
        hours = np.linspace(12.0, 36.0, len(one.promise_kw), endpoint=False)
        axes.fill_between(hours, one.delivered_kw, step="post", color=AREA, linewidth=0)
        axes.step(hours, one.promise_kw, where="post", color=KEPT_COLOURS.get(name, BEST))
        missed, all_kwh = one.metrics["missed_kwh"], one.metrics["promised_kwh"]
        style.panel_title(axes, name, f"{missed:.0f} of {all_kwh:.0f} kWh not delivered as promised")
        axes.set_xticks(clock_h, [f"{hour % 24:02d}:00" for hour in clock_h])
        axes.set_xlim(12.0, 36.0)
    for axes in panels[::2]:
        axes.set_ylabel("charging [kW]")
    title = "On the feeder: the promise of an aggregate, and what the cars could deliver of it"
    keys = [style.line_key(CARS, "promised for the day"), style.area_key(AREA, "delivered by the cars")]
    return style.finish(figure, title, "Default day, perfect foresight, tariff in three bands; 15-minute means.", keys)
