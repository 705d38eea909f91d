"""A scenario on its feeder: what controllers are made of, and the files that a run was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cosim import controllers
from cosim.contract import Controller, Feeder, Predictor
from cosim.dss_files import hashes_of
from cosim.errors import UnsupportedError, refuse
from cosim.experiments.files import sha256_of
from cosim.experiments.scenario import Run, Scenario
from cosim.feeders.facts import read_facts
from cosim.feeders.find import DATA, MODELS, in_season
from cosim.reduced import ReducedNetwork
from cosim.reduced_engine import OwnSources

_WEEK_MIN = 7 * 1440


def _texts(values: Any, table: str = "inputs") -> Iterator[tuple[str, str]]:
    """All texts of a scenario's content, keys too, each with its table."""
    if isinstance(values, str):
        yield table, values
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield table, key
            yield from _texts(value, key if table == "inputs" and isinstance(value, Mapping) else table)


@dataclass(frozen=True, eq=False)
class Place:
    """A scenario and its feeder, which is all that controllers are made of.

    Attributes
    ----------
    scenario : Scenario
        The question.
    path : Path
        The scenario's file.
    feeder : Feeder
        The place, with the scenario's changes.
    """

    scenario: Scenario
    path: Path
    feeder: Feeder

    @cached_property
    def inputs_sha256(self) -> Mapping[str, str]:
        """SHA-256 of the scenario, of all files that OpenDSS opens, and of all own data, by what they are for.

        Taken when first asked for, which the first run does: what is edited afterwards was not its input.
        """
        scenario, master = self.scenario, self.feeder.master
        starts = [scenario.part(number).start for number in range(scenario.parts)]
        hashes = {f"feeder/{name}": digest for name, digest in _files_of(self.feeder).items()}
        profiles, sessions = scenario.households.profiles, scenario.ev.sessions
        sets = dict.fromkeys(str(in_season(profiles, start)) for start in starts)
        named = read_facts(facts := master.with_name("feeder.toml")).get("coordinates")
        drawn = "ev_apartment.json" if sessions in MODELS else "ev_sessions.parquet" if sessions is None else ""
        files = {
            f"scenario/{self.path.name}": self.path,
            "feeder/feeder.toml": facts,
            **({f"feeder/{named}": master.parent / named} if named else {}),
            **{f"data/{name}": DATA / name for name in (*(f"{name}.parquet" for name in sets), drawn)},
            f"profiles/{Path(profiles).name}": Path(profiles),
            f"sessions/{Path(sessions or '').name}": Path(sessions or ""),
        }
        for table, text in _texts(scenario.model_dump(exclude={"feeder", "runs"})):  # every other file that a key names
            if "/" in text and (path := Path(text)) not in files.values():
                files[f"{table}/{path.name}"] = path
        return hashes | {
            name: (_of_shipped if name.startswith("data/") else sha256_of)(path)
            for name, path in files.items()
            if path.is_file()
        }

    @cached_property
    def predictor(self) -> Predictor:
        """The reduced network of this feeder, the file's own sources at nothing; made when first asked for."""
        return _predictor_of(self.feeder)

    def controller(self, run: Run) -> Controller:
        """Make the controller of one run; InputError where its options are wrong."""
        return self.made(run.controller, run.options)

    def made(self, name: str | type, options: Mapping[str, Any]) -> Controller:
        """Make a controller by name, target or class; predictor, seed and ``control_min`` go where they are taken."""
        refuse(controllers.option_faults(name, options))
        if "control_min" in controllers.options(name):  # limits of a first period taken too short would not hold
            options = {"control_min": float(self.scenario.control_min), **options}
        # a controller that can do without a predictor is not refused for a feeder that has none
        asks = controllers.needs_predictor(name)
        wanted = asks and controllers.needs_predictor(name, strictly=bool(self.without_predictor))
        predictor = self.predictor if wanted else None
        seed = int(self.scenario.stream("controllers").integers(2**31))
        return controllers.make(name, self.feeder, predictor=predictor, seed=seed, **options)

    @cached_property
    def without_predictor(self) -> str:
        """Why the reduced network cannot represent this feeder; empty where it can."""
        try:
            self.predictor.predict(self.feeder.load_kw[None], self.feeder.load_kvar[None])  # only to see whether it can
        except UnsupportedError as error:
            return str(error)
        drawing = list(self._drawing())
        return f"it would not know what {', '.join(drawing)} draws" if drawing else ""

    def _drawing(self) -> Iterator[str]:
        """Those of the file's own sources that draw at some step, as a storage that charges."""
        if names := self.feeder.network.injectors:
            scenario = self.scenario
            own = OwnSources(self.feeder, scenario.start, scenario.step_min)
            steps = round(min(scenario.minutes, _WEEK_MIN) / scenario.step_min)
            least_kw = np.min([own.of_step(step).real for step in range(steps)], axis=0)
            yield from (name for name, kw in zip(names, least_kw.tolist(), strict=True) if kw < 0.0)


@lru_cache(maxsize=2)  # the same for every day and week on a feeder
def _files_of(feeder: Feeder) -> Mapping[str, str]:
    """SHA-256 of the files of a circuit, as they were when a day on it was first asked for them."""
    return hashes_of(feeder.master)


_of_shipped = cache(sha256_of)
"""Of data that nobody edits."""


@lru_cache(maxsize=2)
def _predictor_of(feeder: Feeder) -> Predictor:
    return ReducedNetwork(feeder, others_kva=np.zeros(len(feeder.network.injectors), complex))
