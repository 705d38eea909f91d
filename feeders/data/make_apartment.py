"""Fit `ev_apartment.json` beside this script to measured home charging.

    python feeders/data/make_apartment.py sessions.csv [--out DIR]

`sessions.csv` has the columns user, private (1: charge point of one user), start, end (local ISO times) and energy_kwh,
as in dataset 1 of doi:10.17632/jbks2rcwyj.1 (Sorensen et al. 2021, CC BY 4.0), durations from start and end. Kept are
private users, sessions above 0.5 kWh and below 72 h. Written are fitted tables only; `SOURCE.md` says what they hold.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from cosim.feeders.apartment import Fit, draw_apartment

SLOTS_H = (5.0, 9.0, 11.0, 13.0, 15.0, 17.0, 19.0)  # since 4 h
KNOTS = np.array([0.002, 0.01, 0.025, *np.arange(0.05, 0.951, 0.05), 0.975, 0.99, 0.998])
LEAST_WEEKS, LEAST_SESSIONS = 5, 20
"""Of a user whose frequency is fitted, whose leanings are; all users count for the distributions of sessions."""
RATE_RANKS = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
FIT_USERS, FIT_WEEKS, ROUNDS = 5000, 26, 12
START = datetime(2019, 2, 4)


def read(path: Path) -> pd.DataFrame:
    """Sessions that are fitted to: user, week, day (0 is Monday), hour since 4 h, stay [h], energy [kWh]."""
    table = pd.read_csv(path, parse_dates=["start", "end"])
    table["stay"] = (table["end"] - table["start"]).dt.total_seconds() / 3600.0
    kept = table[(table["private"] == 1) & (table["energy_kwh"] > 0.5) & (table["stay"] < 72.0)].copy()
    turned = kept["start"] - pd.Timedelta(hours=4)  # a day begins at 4 h
    kept["week"] = (turned.dt.normalize() - pd.Timestamp("2018-01-01")).dt.days // 7
    kept["day"] = turned.dt.day_of_week
    kept["hour"] = turned.dt.hour + (turned.dt.minute + 0.5) / 60.0
    weeks = kept.groupby("user")["week"].transform(lambda week: week.max() - week.min() + 1)
    kept["weight"] = weeks**-0.75  # between every session and every user counting the same
    return kept


def score(values: pd.Series) -> np.ndarray:
    """Standard normal deviate of the rank."""
    return norm.ppf((rankdata(values) - 0.5) / len(values))


def first_fit(table: pd.DataFrame) -> Fit:
    """Frequencies, covariances and marginal distributions as measured."""
    table["slot"] = np.searchsorted(SLOTS_H, table["hour"], side="right")
    table["energy_score"], table["hour_score"] = score(table["energy_kwh"]), score(table["hour"])
    table["stay_score"] = table.groupby("slot")["stay"].transform(score)
    names = ["energy_score", "stay_score", "hour_score"]
    users = table.groupby("user")
    weeks = users["week"].max() - users["week"].min() + 1
    often, leans = weeks >= LEAST_WEEKS, users.size() >= LEAST_SESSIONS
    rate = (users.size() / weeks)[leans]
    mean = users[names].mean()[leans]
    within = table[table["user"].isin(mean.index)]
    within = within[names] - within.groupby("user")[names].transform("mean")
    # the spread of the means holds some of the spread of sessions
    users_cov = np.cov(np.column_stack([score(rate), mean]).T)
    users_cov[1:, 1:] -= within.cov().to_numpy() * (1.0 / users.size()[leans]).mean()
    users_cov[0, 0] = 1.0
    hours = [
        np.interp(np.arange(25.0), np.sort(table["hour"][part]), np.linspace(0, 1, part.sum()), left=0.0, right=1.0)
        for part in (table["day"] < 5, table["day"] >= 5)
    ]
    for edges in hours:
        edges[0], edges[-1] = 0.0, 1.0
    knots = norm.ppf(KNOTS)
    stay = [[knots, group["stay"].quantile(KNOTS)] for _, group in table.groupby("slot")]
    counts = [
        rows.groupby("week").size().reindex(range(rows["week"].min() + 1, rows["week"].max()), fill_value=0)
        for user, rows in users
        if often[user]
    ]
    active = [of_user[of_user > 0] for of_user in counts]
    fano = np.median([of_user.var() / of_user.mean() for of_user in active if len(of_user) > 5])
    trials = 1.0 / (1.0 - fano)
    return Fit(
        rate=np.array([knots, np.quantile(rate, KNOTS)]),
        users_cov=users_cov,
        within_cov=within.cov().to_numpy(),
        away=float(np.mean([np.mean(of_user == 0) for of_user in counts])),  # those at home are taken out below
        trials=float(trials),
        days=np.bincount(table["day"], minlength=7) / len(table),
        hours=np.array(hours),
        slots=np.array(SLOTS_H),
        stay=np.array(stay),
        energy=np.array([knots, table["energy_kwh"].quantile(KNOTS)]),
    )


def drawn_table(fit: Fit) -> pd.DataFrame:
    """Sessions of many users, in the columns of `read`."""
    minutes = FIT_WEEKS * 7 * 1440
    cars = draw_apartment(np.arange(FIT_USERS), START, minutes, np.random.default_rng(1), efficiency=1.0, fit=fit)
    cars = cars[(cars.arrival_min >= 240) & (cars.arrival_min < minutes)]
    turned = cars.arrival_min - 240.0
    return pd.DataFrame({
        "user": cars.customer, "week": turned // 10080, "day": turned // 1440 % 7, "hour": turned % 1440 / 60.0,
        "stay": (cars.departure_min - cars.arrival_min) / 60.0, "energy_kwh": cars.energy_need_kwh,
    })  # fmt: skip


def quantiles(values: pd.Series, weights: pd.Series, ranks: np.ndarray) -> np.ndarray:
    """Weighted quantiles."""
    order = np.argsort(values.to_numpy())
    weight = weights.to_numpy()[order]
    return np.interp(ranks, (np.cumsum(weight) - 0.5 * weight) / weight.sum(), values.to_numpy()[order])


def corrected(values: np.ndarray, measured: pd.DataFrame, drawn: pd.DataFrame, name: str) -> np.ndarray:
    """Knots moved towards the measured value of the rank that they have among what is drawn."""
    rank = np.interp(values, np.sort(drawn[name]), (np.arange(len(drawn)) + 0.5) / len(drawn))
    return np.maximum.accumulate((values + quantiles(measured[name], measured["weight"], rank)) / 2.0)


def sessions_a_week(table: pd.DataFrame) -> np.ndarray:
    """Of users by `RATE_RANKS`.

    Between every user and every week counting the same (who is there for longer plugs in less often), but for those who
    seldom do: of them there are too few.
    """
    users = table.groupby("user")
    weeks = (users["end"].max() - users["start"].min()) / pd.Timedelta(weeks=1)  # the calendar's are cut at both ends
    often = users["week"].max() - users["week"].min() + 1 >= LEAST_WEEKS
    count, weeks = users.size()[often], weeks[often]
    fewer = count.sum() / weeks.sum() / (count / weeks).mean()
    return np.quantile(count / weeks, RATE_RANKS) * fewer ** np.interp(RATE_RANKS, [0.1, 0.5], [0.0, 0.5])


def calibrate(fit: Fit, table: pd.DataFrame) -> Fit:
    """Move the knots until what is drawn, with stays cut by the next plug-in, has the measured quantiles."""
    knots, often, idle = fit.rate[0], sessions_a_week(table), fit.away
    for _ in range(ROUNDS):
        drawn = drawn_table(fit)
        drawn["slot"] = np.searchsorted(SLOTS_H, drawn["hour"], side="right")
        stay = fit.stay.copy()
        for slot, rows in drawn.groupby("slot"):
            stay[slot, 1] = corrected(stay[slot, 1], table[table["slot"] == slot], rows, "stay")
        energy = corrected(fit.energy[1], table, drawn, "energy_kwh")
        # some sessions find no time between two others, and what users do in half a year spreads about their rates
        drawn_often = np.quantile(np.bincount(drawn["user"], minlength=FIT_USERS) / FIT_WEEKS, RATE_RANKS)
        factor = np.interp(knots, norm.ppf(RATE_RANKS), np.sqrt(often / drawn_often))
        drawn_idle = 1.0 - len(drawn[["user", "week"]].drop_duplicates()) / (FIT_USERS * FIT_WEEKS)
        fit = replace(
            fit, away=max(fit.away + idle - drawn_idle, 0.0), stay=stay, energy=np.array([fit.energy[0], energy]),
            rate=np.array([knots, np.maximum.accumulate(fit.rate[1] * factor)]),
        )  # fmt: skip
    return fit


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sessions", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    table = read(options.sessions)
    first = first_fit(table)
    fit = calibrate(first, table)
    tables = {
        name: value if isinstance(value, float) else np.round(value, 4).tolist() for name, value in asdict(fit).items()
    }
    about = "fitted by make_apartment.py to Sorensen et al. 2021, doi:10.17632/jbks2rcwyj.1, CC BY 4.0; see SOURCE.md"
    lines = [f'  "{name}": {json.dumps(value)}' for name, value in tables.items()]
    text = '{"about": ' + json.dumps(about) + ',\n "tables": {\n' + ",\n".join(lines) + "\n }}\n"
    (options.out / "ev_apartment.json").write_text(text, encoding="utf-8")
    drawn = drawn_table(fit)
    for name in ("energy_kwh", "stay", "hour"):
        print(name, *(np.round(of[name].quantile([0.1, 0.25, 0.5, 0.75, 0.9]).to_numpy(), 2) for of in (table, drawn)))
    print(
        "rank correlation",
        *(np.round(of[["stay", "energy_kwh"]].corr("spearman").iloc[0, 1], 2) for of in (table, drawn)),
    )
    print("away, trials", fit.away, fit.trials)


if __name__ == "__main__":
    main()
