"""A feeder of four wires solved without OpenDSS: from the matrices of its published data, by a plain fixed point."""

from __future__ import annotations

from typing import Any

import numpy as np

from cosim.contract import Complex

PHASES = "abcn"


def pairs(parts: Any) -> Complex:
    """Complex numbers of what the data write as real and imaginary parts."""
    real, imaginary = (np.asarray(part, dtype=float) for part in parts)
    return np.asarray(real + 1j * imaginary)


class FourWire:
    """The network of a JSON file of roseau-load-flow with one transformer, behind an ideal source.

    Attributes
    ----------
    nodes : dict of (bus, phase) to int
        Row of every node; ``"n"`` is the neutral.
    """

    def __init__(self, data: dict[str, Any], *, conductance: bool) -> None:
        self.nodes: dict[tuple[str, str], int] = {}
        for bus in data["buses"]:
            for phase in bus["phases"]:
                self.nodes[bus["id"], phase] = len(self.nodes)
        self.admittance = np.zeros((len(self.nodes), len(self.nodes)), complex)
        params = {one["id"]: one for one in (*data["lines_params"], *data["transformers_params"])}
        for line in data["lines"]:
            self._add_line(line, params[line["params_id"]], conductance)
        (transformer,) = data["transformers"]
        self._add_transformer(transformer, params[transformer["params_id"]])
        (source,), (earth,) = data["sources"], data["ground_connections"]
        assert earth["impedance"] == [0.0, 0.0]
        ab, bc, ca = (complex(*voltage) for voltage in source["voltages"])
        self.fixed = {
            self.nodes[source["bus"], "a"]: (ab - ca) / 3,  # no zero sequence: seen by a delta, it does not matter
            self.nodes[source["bus"], "b"]: (bc - ab) / 3,
            self.nodes[source["bus"], "c"]: (ca - bc) / 3,
            self.nodes[earth["element"]["id"], earth["phase"]]: 0.0,
        }

    def _add_line(self, line: dict[str, Any], params: dict[str, Any], conductance: bool) -> None:
        ends = [[self.nodes[line[bus], phase] for phase in PHASES] for bus in ("bus1", "bus2")]
        shunt = pairs(params["y_shunt"]) * line["length"] / 2
        series = np.linalg.inv(pairs(params["z_line"]) * line["length"])
        shunt = shunt if conductance else 1j * shunt.imag
        self.admittance[np.ix_(ends[0] + ends[1], ends[0] + ends[1])] += np.block(
            [[series + shunt, -series], [-series, series + shunt]]
        )

    def _add_transformer(self, place: dict[str, Any], plate: dict[str, Any]) -> None:
        assert plate["vg"] == "Dyn11"  # the low voltage of a points as that from a to b on the high side
        ratio = plate["ulv"] / np.sqrt(3.0) / plate["uhv"]
        series, magnetising = 1.0 / complex(*plate["z2"]), complex(*plate["ym"])
        for phase, following in ("ab", "bc", "ca"):
            row = np.zeros((2, len(self.nodes)))  # voltages of the windings, low and high, from those of the nodes
            row[0, self.nodes[place["bus_lv"], phase]], row[0, self.nodes[place["bus_lv"], "n"]] = 1.0, -1.0
            row[1, self.nodes[place["bus_hv"], phase]], row[1, self.nodes[place["bus_hv"], following]] = 1.0, -1.0
            coil = np.array([[series, -ratio * series], [-ratio * series, ratio**2 * series + magnetising]])
            self.admittance += row.T @ coil @ row

    def solve(self, load_va: dict[tuple[str, str], complex]) -> Complex:
        """Voltages of all nodes [V] with loads from a phase to the neutral, by (bus, phase) [VA]."""
        fixed = list(self.fixed)
        free = [row for row in range(len(self.nodes)) if row not in self.fixed]
        inner = np.linalg.inv(self.admittance[np.ix_(free, free)])
        voltage = np.zeros(len(self.nodes), complex)
        voltage[fixed] = list(self.fixed.values())
        no_load = voltage[free] = -inner @ self.admittance[np.ix_(free, fixed)] @ voltage[fixed]
        from_to = np.array([(self.nodes[bus, phase], self.nodes[bus, "n"]) for bus, phase in load_va])
        power: Complex = np.array(list(load_va.values()))
        for _ in range(200):
            current = (power / (voltage[from_to[:, 0]] - voltage[from_to[:, 1]])).conj()
            injected = np.zeros(len(self.nodes), complex)
            np.add.at(injected, from_to[:, 0], -current)
            np.add.at(injected, from_to[:, 1], current)
            before, voltage[free] = voltage[free], no_load + inner @ injected[free]
            if np.abs(voltage[free] - before).max() < 1e-9:
                return voltage
        raise AssertionError("the fixed point was not reached")

    def source_va(self, voltage: Complex) -> complex:
        """Complex power that the source delivers [VA]."""
        return complex((voltage * (self.admittance @ voltage).conj())[list(self.fixed)].sum())
