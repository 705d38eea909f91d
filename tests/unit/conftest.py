"""Streets of homes whose caps several tests choose, and observations made by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cosim import feeders
from cosim.contract import Feeder, Observation, TransformerSpec
from cosim.experiments import cli
from cosim.folder import write_whole

if TYPE_CHECKING:
    from cosim.controllers.caps import CapsProblem

MakeStreet = Callable[..., "CapsProblem"]
WEAK = """Clear
Set DefaultBaseFrequency=50
New Circuit.weak Bus1=src BasekV=11 pu=1.0
New Transformer.T1 Phases=3 Windings=2 Buses=[src lv] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[100 100] %R=0.8 XHL=4
New Line.HEAD Phases=3 Bus1=lv Bus2=hub R1=0.1 X1=0.05 R0=0.4 X0=0.2 Length=0.05 Units=km NormAmps=300 EmergAmps=300
New Line.THIN Phases=1 Bus1=hub.1 Bus2=a.1 R1=0.3 X1=0.05 R0=0.3 X0=0.05 Length=0.05 Units=km NormAmps=60 EmergAmps=60
New Line.LONG Phases=1 Bus1=hub.2 Bus2=b.2 R1=1.0 X1=0.05 R0=1.0 X0=0.05 Length=0.25 Units=km NormAmps=300 EmergAmps=300
New Load.A1 Phases=1 Bus1=a.1 kV=0.23 kW=1 Model=1
New Load.A2 Phases=1 Bus1=a.1 kV=0.23 kW=1 Model=1
New Load.A3 Phases=1 Bus1=a.1 kV=0.23 kW=1 Model=1
New Load.B1 Phases=1 Bus1=b.2 kV=0.23 kW=1 Model=1
New Load.B2 Phases=1 Bus1=b.2 kV=0.23 kW=1 Model=1
New Load.C1 Phases=1 Bus1=hub.3 kV=0.23 kW=1 Model=1
New Load.D1 Phases=3 Bus1=hub kV=0.4 kW=1 Model=1
Set VoltageBases=[11 0.4]
CalcVoltageBases
"""


@pytest.fixture
def cosim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; its exit code, and what it printed on each stream."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cosim", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def _unrendered(_: object, path: Path) -> None:
    write_whole(path, lambda temporary: temporary.write_bytes(b"\x89PNG\r\n\x1a\n"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are composed and their files written, but not rendered, which takes most of their time."""
    monkeypatch.setattr("cosim.experiments.figures.style.save", _unrendered)


@pytest.fixture(scope="module")
def undrawn_module() -> Iterator[None]:
    """As `undrawn`, for all tests of a file."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("cosim.experiments.figures.style.save", _unrendered)
        yield


@pytest.fixture(scope="session")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Feeder:
    """A strong transformer, a thin cable on phase 1, a long one on phase 2."""
    folder = tmp_path_factory.mktemp("weak")
    (folder / "feeder.toml").write_text("nominal_voltage_v = 230.0\n")
    (folder / "Master.dss").write_text(WEAK)
    return feeders.load(folder, transformer=TransformerSpec(100.0))


@pytest.fixture(scope="session")
def street() -> MakeStreet:
    """Draw homes with a car each under one limit."""
    return _street


@pytest.fixture(scope="session")
def seen_at() -> Callable[..., Observation]:
    """Make an observation of three homes with cars: ``seen_at(30.0, h1=(need_kwh, departure_min))``."""
    return _seen_at


def _seen_at(minute: float, left: tuple[float, ...] = (np.nan,) * 3, **cars: tuple[float, float]) -> Observation:
    zero, nobody = np.zeros(3), np.full(3, np.nan)
    values: dict[str, Any] = dict.fromkeys(Observation.__dataclass_fields__, zero) | {"channels": {}}
    plugged, need_kwh, departure_min = np.zeros(3, bool), zero.copy(), nobody.copy()
    for home, (need, until) in cars.items():
        row = int(home[1:])
        plugged[row], need_kwh[row], departure_min[row] = True, need, until
    values |= {"step": round(minute / 5.0), "minute": minute, "step_min": 5.0, "tariff_eur_per_kwh": 0.2}
    values |= {"plugged": plugged, "energy_left_kwh": need_kwh, "departure_min": departure_min, "source_pu": 1.0}
    values |= {"soc_kwh": zero + 5.0, "charger_kw": zero + 7.4, "charger_min_kw": zero + 1.38, "efficiency": zero + 0.9}
    return Observation(**(values | {"last_left_minutes": np.array(left)}))


def _street(homes: int, slots: int, seed: int, tight: float = 0.3, least_kw: float = 0.0) -> CapsProblem:
    from cosim.controllers.caps import CapsProblem, share_of_phase  # brings Pyomo, for which other tests need not wait

    rng = np.random.default_rng(seed)
    start, stay = rng.integers(0, slots // 3, homes), rng.integers(slots // 2, slots, homes)
    slot = np.arange(slots)[:, None]
    plugged = ((slot >= start) & (slot < start + stay)).astype(float)
    charger = rng.choice([3.7, 7.4], homes)
    inflexible = rng.uniform(0.2, 1.5, (slots, homes))
    return CapsProblem(
        slot_h=0.5,
        tariff_eur_per_kwh=np.where(np.arange(slots) % 24 < 8, 0.3, 0.1),
        inflexible_kw=inflexible,
        connection_kw=np.full(homes, 14.0),
        phase_share=share_of_phase(np.zeros(homes, int), 1),
        limit_kw=inflexible.sum(axis=1).max() + tight * np.full((slots, 1), charger.sum()),
        home=np.arange(homes),
        plugged=plugged,
        charger_kw=charger,
        charger_min_kw=np.full(homes, least_kw),
        energy_need_kwh=rng.uniform(0.1, 0.5, homes) * 0.9 * 0.5 * (plugged * charger).sum(axis=0),
        efficiency=np.full(homes, 0.9),
    )
