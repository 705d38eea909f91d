"""Power flow of a shipped feeder for the validation cases: OpenDSS and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import opendssdirect
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


class PowerFlow:
    def __init__(self, feeder: str) -> None:
        self.dss = opendssdirect.dss.NewContext()
        self.dss.Basic.AllowChangeDir(False)
        master = Path(__file__).resolve().parents[2] / "feeders" / feeder / "Master.dss"
        self.dss.Text.Command(f"redirect [{master}]")
        self.node_names = tuple(self.dss.Circuit.YNodeOrder())
        self.customers = tuple(n.upper() for n in self.dss.Loads.AllNames())
        self.nodes = []
        for name in self.customers:
            self.dss.Circuit.SetActiveElement(f"Load.{name}")
            self.nodes.append(self.node_names.index(self.dss.CktElement.BusNames()[0].upper()))

    def solve(self, p_kw: Float, q_kvar: Float) -> Complex:
        out = np.empty((len(p_kw), len(self.node_names)), complex)
        self._kva, self._line, self._loss = [], [], []
        for k in range(len(p_kw)):
            for i, (p, q) in enumerate(zip(p_kw[k], q_kvar[k])):
                self.dss.Loads.Idx(i + 1)
                self.dss.Loads.kW(p)
                self.dss.Loads.kvar(q)
            self.dss.Solution.Solve()
            assert self.dss.Solution.Converged()
            out[k] = np.asarray(self.dss.Circuit.YNodeVArray()).view(complex)
            self.dss.Circuit.SetActiveElement("Transformer.TR1")
            self._kva.append(-np.asarray(self.dss.CktElement.Powers()).view(complex)[4:7])
            self._loss.append(self.dss.Circuit.Losses()[0] / 1e3)
            self.dss.Circuit.SetActiveElement("Line.LINE1")
            self._line.append(np.asarray(self.dss.CktElement.Currents()).view(complex)[:3])
        return out

    def transformer_kva(self, v: Complex) -> Complex:
        return np.array(self._kva)

    def line_current_a(self, name: str, v: Complex) -> Complex:
        return np.array(self._line)

    def losses_kw(self, v: Complex) -> Float:
        return np.array(self._loss)
