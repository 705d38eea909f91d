"""What the tables of caps must hold: the forecast, and households' answers to the caps computed once more."""

from __future__ import annotations

import numpy as np
import pandas as pd

from oracles import textbook
from oracles.street import Street
from oracles.tables import CONNECTION_KW, CUSTOMERS, PHASES, STEP_H, STEPS, TARIFF, Columns, wide

SLOT_H, SLOTS, PER_SLOT = 0.5, 12, 6


def caps_of(street: Street) -> pd.DataFrame:
    return street.table("caps/bilevel_caps/caps.csv")


def slot_means(of_minutes: np.ndarray) -> np.ndarray:
    """Of a quantity by minute and home, home by home."""
    return of_minutes.reshape(SLOTS, 30, -1).mean(axis=1).T.ravel()


def best_answer(caps: pd.DataFrame) -> np.ndarray:
    """What a household inside its caps draws: cheapest slots first, the earlier of two that cost the same [kW]."""
    charge = pd.Series(0.0, index=caps.index)
    for _, slots in caps[caps["stay"] >= 0].groupby("stay"):
        room = np.minimum(slots["charger_kw"] * slots["plugged"], (slots["cap_kw"] - slots["inflexible_kw"]).clip(0.0))
        room = room.where(slots["plugged"] > 0, 0.0)
        # 6 A or nothing: a slot whose room is below what the charger can draw is of no use
        usable = (
            np.minimum(slots["charger_kw"], slots["cap_kw"] - slots["inflexible_kw"]) >= slots["charger_min_kw"] - 1e-6
        )
        left = slots["energy_need_kwh"].iloc[0] / slots["efficiency"].iloc[0] / SLOT_H
        for row in slots.sort_values(["tariff_eur_per_kwh", "slot"], kind="stable").index:
            drawn = min(left, room[row] if usable[row] else 0.0)
            charge[row] += drawn
            left -= drawn
    return charge.to_numpy()


def caps_table(street: Street) -> Columns:
    """Data of the forecast, caps as they are, and the answer to them computed once more."""
    caps, told = caps_of(street), street.day.forecast.expected
    tariff = np.tile(TARIFF.reshape(SLOTS, PER_SLOT).mean(axis=1), len(CUSTOMERS))
    answer, slot = best_answer(caps), np.tile(np.arange(SLOTS), len(CUSTOMERS))
    limits = caps[["limit_1_kw", "limit_2_kw", "limit_3_kw"]]
    loaded = {home: [f"limit_{phase}_kw" for phase in phases] for home, phases in PHASES.items()}
    stays = forecast_stays(street)
    own = stays.loc[caps["stay"].clip(lower=0)].reset_index(drop=True)
    nobody = (caps["stay"] < 0).to_numpy()
    assert caps.groupby("slot")[list(limits)].nunique().eq(1).all(axis=None)  # one limit for all homes
    assert (limits > 0).all(axis=None)
    rank = caps["order_cost"].groupby(caps["household"]).rank()
    expected_rank = pd.Series(tariff + 1e-6 * slot).groupby(caps["household"]).rank()
    assert (rank == expected_rank).all()
    assert (caps["cap_kw"] <= caps["connection_kw"] + 1e-9).all()
    return {
        "household": np.repeat(CUSTOMERS, SLOTS),
        "phase": np.repeat([int("".join(map(str, PHASES[home]))) for home in CUSTOMERS], SLOTS),
        "slot": slot,
        "tariff_eur_per_kwh": tariff,
        "order_cost": tariff + (caps["order_cost"] - tariff).clip(0.0, 0.05),  # within half a step of the prices
        "inflexible_kw": slot_means(told.demand_kw - told.pv_available_kw),
        "connection_kw": np.repeat([CONNECTION_KW[home] for home in CUSTOMERS], SLOTS),
        "charger_kw": np.where(nobody, 0.0, own["charger_kw"]),
        "plugged": plugged_of(caps, stays),
        "energy_need_kwh": np.where(nobody, 0.0, own["energy_kwh"]),
        "efficiency": np.where(nobody, 1.0, own["efficiency"]),
        "cap_kw": np.where(answer > 1e-6, np.maximum(caps["cap_kw"], caps["inflexible_kw"] + answer), caps["cap_kw"]),
        "charge_kw": answer,
        "limit_kw": [limits.loc[row, loaded[home]].min() for row, home in enumerate(caps["household"])],
        "charger_min_kw": [0.0 if n else 1.38 * len(PHASES[h]) for n, h in zip(nobody, caps["household"], strict=True)],
        "stay": np.where(nobody, -1, caps["stay"]),
        "planned_kw": answer,
        "slot_h": SLOT_H,
        **{name: limits[name] for name in limits},
    }


def forecast_stays(street: Street) -> pd.DataFrame:
    """Cars as they were told to the controller, one row a stay."""
    told = street.day.forecast.expected.sessions
    return pd.DataFrame({
        "household": [CUSTOMERS[home] for home in told.customer], "from": told.arrival_min, "until": told.departure_min,
        "energy_kwh": told.energy_need_kwh, "charger_kw": told.charger_kw, "efficiency": told.efficiency,
    })  # fmt: skip


def plugged_of(caps: pd.DataFrame, stays: pd.DataFrame) -> np.ndarray:
    """Share of each slot in which any car of the home is there."""
    by_stay = textbook.stays(list(zip(stays["from"], stays["until"], strict=True)), SLOTS, 30.0)
    of_home = pd.DataFrame(by_stay).groupby(stays["household"]).sum().reindex(list(CUSTOMERS), fill_value=0.0)
    return of_home.to_numpy().ravel()


def responses_table(street: Street) -> Columns:
    """Every stay's energy and cost from the slots of the caps; what is unserved though the stay could hold it."""
    caps, stays = caps_of(street), forecast_stays(street)
    caps["answer"] = best_answer(caps)
    by_stay = caps[caps["stay"] >= 0].groupby("stay")
    drawn = by_stay["answer"].sum() * SLOT_H
    cost = by_stay.apply(lambda slots: (slots["answer"] * slots["tariff_eur_per_kwh"]).sum() * SLOT_H)
    headroom = (caps["connection_kw"] - caps["inflexible_kw"]).clip(lower=0.0)
    caps["most"] = np.minimum(caps["charger_kw"] * caps["plugged"], headroom) * caps["efficiency"]
    most = caps[caps["stay"] >= 0].groupby("stay")["most"].sum() * SLOT_H
    reachable = np.minimum(stays["energy_kwh"], most)
    zero = np.zeros(len(stays))
    return {
        "household": stays["household"],
        "stay": np.arange(len(stays)),
        "energy_need_kwh": stays["energy_kwh"],
        **{f"{way}_kwh": drawn for way in ("anticipated", "greedy", "lp")},
        **{f"{way}_cost_eur": cost for way in ("anticipated", "greedy", "lp")},
        "cost_difference_eur": zero,
        "greedy_error_kw": zero,
        "lp_error_kw": zero,
        "unserved_kwh": (reachable - drawn * stays["efficiency"]).clip(lower=0.0),
    }


def deviation_table(street: Street) -> Columns:
    """The first row is the plan; the others are drawn, so that only what must hold of any draw is known."""
    table, caps = street.table("caps/bilevel_caps/deviation.csv"), caps_of(street)
    charge = wide(caps.assign(answer=best_answer(caps)), "slot", "household", "answer")
    base = wide(caps, "slot", "household", "inflexible_kw")
    excess = 0.0
    for phase in (1, 2, 3):
        share = pd.Series({home: (phase in phases) / len(phases) for home, phases in PHASES.items()})
        limit = caps.groupby("slot")[f"limit_{phase}_kw"].first()
        expected = base @ share
        excess = max(excess, float((expected + charge @ share - np.maximum(limit, expected)).max()))
    broken = table["over_limit_share"] > 0
    everybody = table["behaviour"].str.contains("every")
    return {
        "plan": ["bilevel_caps"] * len(table),
        "behaviour": table["behaviour"].drop_duplicates(),
        "homes_share": np.where(table["behaviour"] == "as modelled", 0.0, np.where(everybody, 1.0, 0.2)),
        "respects_caps": ~table["behaviour"].str.contains("inflexible"),
        "draws": np.where(table.index.isin([0, 6]), 1, 100),
        "over_limit_share": table["over_limit_share"].clip(0.0, 1.0).where(table.index > 0, float(excess > 1e-6)),
        "mean_excess_kw": np.minimum(table["mean_excess_kw"], table["max_excess_kw"]).where(broken, 0.0),
        "max_excess_kw": table["max_excess_kw"].where(broken, 0.0).where(table.index > 0, max(excess, 0.0)),
    }


def export_caps_table(street: Street) -> Columns:
    """Inside its cap a roof exports what it wants; what then is fed in serves the home's own load first."""
    table, told = street.table("caps/bilevel_caps/export_caps.csv"), street.day.forecast.expected
    roofs = np.flatnonzero(told.inverter_kva > 0)
    homes = [CUSTOMERS[row] for row in roofs]

    def of_steps(minutes: np.ndarray) -> np.ndarray:
        return np.asarray(minutes.reshape(STEPS, 5, -1).mean(axis=1)[:, roofs].T.ravel())

    caps = caps_of(street)
    sun = np.minimum(of_steps(told.pv_available_kw), np.repeat(told.inverter_kva[roofs], STEPS))
    # expected charging: by steps, in which a car is there later and shorter than in the slots of the caps
    charging = pd.Series(table["load_kw"].to_numpy() - of_steps(told.demand_kw)).groupby(table["household"])
    planned = pd.Series(best_answer(caps)).groupby(caps["household"]).sum() * SLOT_H
    assert (charging.min() >= -1e-9).all()
    assert (charging.max() <= caps.groupby("household")["charger_kw"].max()[charging.max().index] + 1e-9).all()
    np.testing.assert_allclose(charging.sum() * STEP_H, planned[charging.sum().index], rtol=0.12, atol=1e-6)
    wanted = (sun - table["load_kw"]).clip(lower=0.0)
    assert ((table["export_cap_kw"] >= -1e-9) & (table["export_cap_kw"] <= table["rated_kw"] + 1e-9)).all()
    return {
        "household": np.repeat(homes, STEPS),
        "phase": np.repeat([PHASES[home][0] for home in homes], STEPS),
        "slot": np.tile(np.arange(STEPS), len(roofs)),
        "sun_kw": sun,
        "load_kw": table["load_kw"],
        "rated_kw": np.repeat(told.inverter_kva[roofs], STEPS),
        "wanted_kw": wanted,
        "export_cap_kw": table["export_cap_kw"],
        "export_kw": np.minimum(wanted, table["export_cap_kw"]),
        "feed_in_limit_kw": sun - (wanted - np.minimum(wanted, table["export_cap_kw"])),
    }
