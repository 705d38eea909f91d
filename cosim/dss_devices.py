"""What a circuit's file brings along beside loads and branches: own sources, tap changers, switched capacitors.

OpenDSS itself runs them, along the steps of a day: step ``k`` is what a plain ``solve mode=daily number=1`` with the
same step size solves the ``k``-th time, so that its clock stands at the *end* of the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from cosim.contract import Complex, Feeder, Float
from cosim.dss_reading import FOLLOWED, OTHER_CONTROLS, ask, branch_name, elements, primitive_admittance

_YEAR_H = 8760.0
_MINUTES_A_DAY = 1440


class OwnElements:
    """The file's own elements in a compiled circuit, from the first step of a day to the last.

    Parameters
    ----------
    dss
        The circuit, its loads' powers set by the engine.
    feeder : Feeder
        The place; its ``taps`` say whether regulators and capacitor controls act.
    start : datetime
        Local clock of the first step.
    step_min : float
        Length of a step [min].

    Attributes
    ----------
    switchings : list of (int, str, float, float)
        Step, element, and its tap [pu of the winding] or steps in service before and after.
    """

    def __init__(self, dss: Any, feeder: Feeder, start: datetime, step_min: float) -> None:
        self._dss, self._step_min = dss, step_min
        self._sources = list(zip(feeder.network.injectors, feeder.network.injector_nodes, strict=True))
        self._nodes = len(feeder.network.node_names)
        self._lines = {line.name for line in feeder.network.lines}
        self._acts = feeder.taps == "controlled"
        self.switchings: list[tuple[int, str, float, float]] = []
        mode, whole_year = self._follow_shapes()
        day = start.timetuple().tm_yday - 1 if whole_year else 0
        self._first_min = day * _MINUTES_A_DAY + start.hour * 60 + start.minute + start.second / 60.0
        # each load has the power that it is told: in these modes OpenDSS would multiply it by its shape
        if dss.Loads.Count():
            dss.Text.Command("batchedit load..* status=fixed")
        control = "time" if self._acts else "off"
        dss.Text.Command(f"set mode={mode} number=1 stepsize={step_min}m controlmode={control}")
        self._watched = self._tap_changers() if self._acts else []
        self._states = [self._state(*one) for one in self._watched]
        self._step = 0

    def begin(self, step: int) -> None:
        """Go to a step: sources follow their shapes, and what storage gave or took since the last one counts."""
        if step:
            self._dss.Solution.Cleanup()
        self._step = step
        minutes = self._first_min + (step + 1) * self._step_min
        self._dss.Solution.Hour(int(minutes // 60))
        self._dss.Solution.Seconds(minutes % 60 * 60.0)
        self._dss.Solution.InitSnap()  # or the sources keep the powers of the last step

    def act(self) -> bool:
        """Let controls whose delay is over act on what was solved; True where one did, and it must be solved again."""
        if not self._acts:
            return False
        solution = self._dss.Solution
        solution.ControlActionsDone(False)
        solution.SampleControlDevices()
        solution.DoControlActions()
        return not solution.ControlActionsDone()

    def drawn_kva(self) -> list[Complex]:
        """What each of the file's own sources draws at each of its conductors, P + jQ to earth [kVA]."""
        found = []
        for name, _ in self._sources:
            self._dss.Circuit.SetActiveElement(name)
            found.append(np.array(self._dss.CktElement.Powers()).view(complex))
        return found

    def sources(self) -> tuple[Float, Complex]:
        """What the file's own sources feed in: active power of each [kW], and P + jQ at each node to earth [kVA]."""
        of_source, at_node = np.zeros(len(self._sources)), np.zeros(self._nodes + 1, dtype=complex)
        for index, ((_, nodes), drawn_kva) in enumerate(zip(self._sources, self.drawn_kva(), strict=True)):
            of_source[index] = -drawn_kva.real.sum()
            np.subtract.at(at_node, nodes, drawn_kva)  # -1, which is earth, is the last
        return of_source, at_node[:-1]

    def note_switchings(self) -> dict[str, Complex]:
        """Record what was switched since the last call: the primitive admittances now of those branches [S]."""
        states = [self._state(*one) for one in self._watched]
        switched: dict[str, Complex] = {}
        for row in [row for row, state in enumerate(states) if state != self._states[row]]:
            kind, name, winding = self._watched[row]
            element = f"{kind}.{name}" + (f".{winding}" if winding else "")
            self.switchings.append((self._step, element, self._states[row], states[row]))
            self._dss.Circuit.SetActiveElement(f"{kind}.{name}")
            switched[branch_name(kind, name, self._lines)] = primitive_admittance(self._dss)
        self._states = states
        return switched

    def _follow_shapes(self) -> tuple[str, bool]:
        """The mode in which every source follows its yearly shape, else its daily; whether a shape is a year long."""
        shapes: dict[str, Mapping[str, str]] = {
            name: {key: ask(self._dss, name, key) for key in ("yearly", "daily")}
            for name, _ in self._sources
            if name.split(".")[0] in FOLLOWED
        }
        yearly = any(of["yearly"] for of in shapes.values())
        lengths = [0.0]
        for name, of in shapes.items():
            if yearly and of["daily"] and not of["yearly"]:
                self._dss.Text.Command(f'edit "{name}" yearly={of["daily"]}')
            if shape := of["yearly"] or of["daily"]:
                self._dss.LoadShape.Name(shape)
                lengths.append(self._dss.LoadShape.Npts() * self._dss.LoadShape.HrInterval())
        return "yearly" if yearly else "daily", max(lengths) >= _YEAR_H

    def _tap_changers(self) -> list[tuple[str, str, int]]:
        """Class, name and winding (0 of capacitors) of what the controls move; other controls are disabled."""
        dss, found = self._dss, []
        for kind in OTHER_CONTROLS:  # the report says that they do not act
            for name in list(elements(dss, kind)):
                dss.Text.Command(f'edit "{kind}.{name}" enabled=no')
        for name in elements(dss, "RegControl"):
            dss.RegControls.Name(name)
            found.append(("Transformer", dss.RegControls.Transformer().upper(), int(dss.RegControls.TapWinding())))
        for name in elements(dss, "CapControl"):
            dss.CapControls.Name(name)
            found.append(("Capacitor", dss.CapControls.Capacitor().upper(), 0))
        return list(dict.fromkeys(found))

    def _state(self, kind: str, name: str, winding: int) -> float:
        dss = self._dss
        if kind == "Capacitor":
            dss.Capacitors.Name(name)
            return float(sum(dss.Capacitors.States()))
        dss.Transformers.Name(name)
        dss.Transformers.Wdg(winding)
        return float(dss.Transformers.Tap())
