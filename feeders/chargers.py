"""Which phase a charger is on, at homes that have several: drawn, or as own sessions say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cosim.contract import EvSessions, Feeder, Int
from cosim.contract.streams import each
from cosim.errors import Fault, refuse
from cosim.feeders.find import MODELS, PhaseChoice
from cosim.feeders.join import rows_of
from cosim.feeders.tables import find_faults, numbers, read_table, told_once

THREE_PHASE_KW = 11.0
"""16 A on each of three phases at 230 V, the usual rating of such a charger."""


def with_chargers(
    feeder: Feeder,
    single_phase_share: float | None,
    choice: PhaseChoice,
    sessions: str | None,
    rng: np.random.Generator,
) -> Feeder:
    """Connect chargers at homes with several phases.

    Parameters
    ----------
    feeder : Feeder
        The place.
    single_phase_share : float or None
        Share of these homes whose charger is on one phase; None: all are on all phases.
    choice : str
        Which phase that is: ``random``; ``first`` of the home, as installers do who do not look; ``lightest``, with the
        fewest single-phase homes and chargers so far behind its transformer.
    sessions : str or None
        Path of own sessions, whose column ``charger_phase`` says it instead (0, or nothing, for all of the home's).
    rng : numpy.random.Generator
        Source of the draw. Of two shares the larger one's homes contain the smaller one's.

    Raises
    ------
    InputError
        Where a file names a phase that a home does not have, or two for one home.
    """
    phases = np.zeros(len(feeder.customers), dtype=np.int64)
    if sessions is not None and sessions not in MODELS:
        phases = _own_phases(Path(sessions), feeder)
    elif single_phase_share:
        phases = _drawn_phases(feeder, single_phase_share, choice, rng)
    wired = tuple(phases.tolist()) if phases.any() else ()
    # the same place for every week of a longer run: it keeps what it knows of itself
    return feeder if wired == feeder.charger_phase else replace(feeder, charger_phase=wired)


def rated_by_phases(sessions: EvSessions, feeder: Feeder) -> EvSessions:
    """Drawn cars with `THREE_PHASE_KW` where the charger is on three phases; their needs and stays remain."""
    wide = np.array([len(phases) == 3 for phases in feeder.customer_phases])
    wide[feeder.spurs[0]] = False
    return replace(sessions, charger_kw=np.where(wide[sessions.customer], THREE_PHASE_KW, sessions.charger_kw))


def _drawn_phases(feeder: Feeder, share: float, choice: PhaseChoice, rng: np.random.Generator) -> Int:
    several = np.array([len(set(on)) > 1 and name not in feeder.delta_customers for name, on in
                        zip(feeder.customers, feeder.customer_phases, strict=True)])  # fmt: skip
    several &= np.isin(np.arange(len(several)), feeder.homes)
    order = rng.permutation(len(several))
    draw = each(rng, range(len(several)), lambda one, who: (one.random(len(who)),))[0]
    chosen = order[several[order]][: round(share * int(several.sum()))]
    phases = np.zeros(len(several), dtype=np.int64)
    # what is even over the whole feeder may all stand on one phase of a transformer
    area, used = feeder.area_of_customer, np.zeros((len(feeder.areas) + 1, 4), dtype=np.int64)
    for row, on in enumerate(feeder.customer_phases):
        used[area[row], on[0]] += len(on) == 1
    for row in chosen.tolist():
        on = feeder.customer_phases[row]
        of = {"random": int(draw[row] * len(on)), "first": 0, "lightest": int(used[area[row], list(on)].argmin())}
        phases[row] = on[of[choice]]
        used[area[row], phases[row]] += 1
    return phases


def _own_phases(path: Path, feeder: Feeder) -> Int:
    table, where, faults = read_table(path, "sessions", "give the path of a file of sessions"), str(path), list[Fault]()
    found = np.zeros(len(feeder.customers), dtype=np.int64)
    if "charger_phase" not in table.columns or "customer" not in table.columns:
        return found
    given = numbers(table["charger_phase"].fillna(0), where, faults)
    customer = rows_of(list(table["customer"].astype(str).str.strip()), feeder.customers)
    known = customer >= 0  # others are named where the sessions are read
    allowed = [{0, *(on if name not in feeder.delta_customers else ())} for name, on in
               zip(feeder.customers, feeder.customer_phases, strict=True)]  # fmt: skip
    wrong = known & np.isfinite(given)
    wrong &= np.array([value not in allowed[row] for value, row in zip(given, customer, strict=True)])
    faults += find_faults(
        wrong, pd.Series(given), where, "charger_phase", "{:g} is no phase of this home",
        "give a phase that `cosim feeder` lists for it, or 0 for all of them",
    )  # fmt: skip
    refuse(told_once(faults))
    found[customer[known]] = given[known]
    mixed = known & (found[customer] != given)
    refuse(told_once(find_faults(
        mixed, pd.Series(given), where, "charger_phase", "{:g} differs from another row of this home",
        "a home has one charger: give the same phase in all its rows",
    )))  # fmt: skip
    return found
