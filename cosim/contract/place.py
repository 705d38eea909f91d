"""The place: a feeder, frozen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cosim.contract.areas import Area, Limit, LimitCurrents
from cosim.contract.changes import Connection, TransformerSpec, ZipShares, out_of_range
from cosim.contract.intake import Finding
from cosim.contract.survey import LoadShape, Roof
from cosim.contract.thermal import OilTransformer
from cosim.contract.wiring import Wiring
from cosim.errors import Fault, refuse
from cosim.load_laws import LoadLaws
from cosim.network import Branch, Float, Int
from cosim.standards import EN_50160, LOW_VOLTAGE_V, Standard


@dataclass(frozen=True, eq=False, kw_only=True)
class Feeder(Wiring):
    """The place: OpenDSS files, customers and how they are connected, ratings, coordinates.

    Attributes
    ----------
    name : str
        Short name.
    master : Path
        The OpenDSS file that compiles the circuit.
    nominal_voltage_v : float
        Declared phase-to-neutral voltage of the area with most customers [V].
    load_model : str or ZipShares
        What households are: ``constant_power``, or ``file`` for the loads' own models, or the same shares for all.
    load_laws : LoadLaws or None
        How the households' power follows their voltage; None where all of it is constant power.
    load_kw, load_kvar : ndarray, shape (customer,)
        Power that the OpenDSS file itself gives the load [kW], [kvar].
    load_shapes : tuple of LoadShape or None, shape (customer,)
        Power over time that the file itself gives the load.
    connection_kw : ndarray, shape (customer,)
        Largest net import that the connection allows without any cap [kW].
    areas : tuple of Area
        What each transformer feeds, parents first.
    limits : tuple of Limit
        What windings, head lines, watched lines and their neutral conductors may carry, as far as they are rated.
    transformer : str or None
        Name of the branch that feeds the area with most customers; None where there is none.
    transformer_kva : float
        Rating of that area [kVA]; nan where there is none.
    head_line : str or None
        Name of the line that carries all customers of that area.
    monitored : tuple of str
        Branches whose currents controllers and unbalance measures watch.
    coordinates : mapping of bus to (x, y)
        As in the file; empty where there are none.
    distance_m : mapping of bus to float
        Length of the path from the transformer [m].
    source_pu, replaced_transformer, connections
        Changes that were made to the file's own circuit.
    latitude_deg, longitude_deg : float
        For the sun.
    customer_names, customer_types : tuple of str, shape (customer,)
        What ``feeder.toml`` calls them, and what they are; empty texts where it does not say.
    line_codes : mapping of str to str
        Line code by line, in capitals; empty where a line has none.
    standard : Standard
        By which voltages are judged.
    taps : str
        ``"frozen"`` where the file has them, or ``"controlled"`` by the file's own regulators and capacitor controls.
    roofs : tuple of (int, Roof)
        PVSystems of the file that are roof plants of customers, with the customer's row.
    accepted : tuple of str
        Elements of ``network.unhonoured`` with which it is run all the same.
    findings : tuple of Finding
        What is missing, implausible or will mislead.
    thermal : OilTransformer
        Thermal constants of its transformers.

    Raises
    ------
    InputError
        Where a number is outside its range: nan and infinities pass no comparison, and so no check of a controller.
    """

    name: str
    master: Path
    nominal_voltage_v: float
    load_kw: Float
    load_kvar: Float
    load_shapes: tuple[LoadShape | None, ...]
    connection_kw: Float
    areas: tuple[Area, ...]
    limits: tuple[Limit, ...]
    transformer: str | None
    transformer_kva: float
    head_line: str | None
    monitored: tuple[str, ...]
    coordinates: Mapping[str, tuple[float, float]]
    distance_m: Mapping[str, float]
    source_pu: float | None = None
    replaced_transformer: TransformerSpec | None = None
    connections: tuple[Connection, ...] = ()
    latitude_deg: float = 53.48
    longitude_deg: float = -2.24
    customer_names: tuple[str, ...] = ()
    customer_types: tuple[str, ...] = ()
    line_codes: Mapping[str, str] = field(default_factory=dict)
    standard: Standard = EN_50160
    taps: Literal["frozen", "controlled"] = "frozen"
    roofs: tuple[tuple[int, Roof], ...] = ()
    accepted: tuple[str, ...] = ()
    load_model: str | ZipShares = "constant_power"
    load_laws: LoadLaws | None = None
    findings: tuple[Finding, ...] = ()
    thermal: OilTransformer = field(default_factory=OilTransformer)

    def __post_init__(self) -> None:
        super().__post_init__()
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        faults = out_of_range(f"feeder {self.name}", {key: value for key, value in own.items() if value is not None})
        for key in ("connection_kw", "load_kw", "load_kvar"):
            wrong = ~np.isfinite(own[key]) | (key == "connection_kw") & (own[key] < 0)
            if wrong.any():
                who = ", ".join(np.array(self.customers)[wrong][:5])
                problem = f"is negative or no finite number for {who}"
                faults.append(Fault(f"feeder {self.name}", key, problem, "give kilowatts, e.g. 14"))
        if self.charger_phase and len(self.charger_phase) != len(self.customers):
            problem = f"has {len(self.charger_phase)} phases for {len(self.customers)} customers"
            faults.append(Fault(f"feeder {self.name}", "charger_phase", problem, "give one number a customer"))
        for name, phase, phases in zip(self.customers, self.charger_phase, self.customer_phases, strict=False):
            if phase and (phase not in phases or name in self.delta_customers):
                on = "between phases" if name in self.delta_customers else f"on {', '.join(map(str, phases))}"
                problem = f"is {phase} at {name}, which is connected {on}"
                faults.append(Fault(f"feeder {self.name}", "charger_phase", problem, "name a phase of the home, or 0"))
        refuse(faults)

    def refuse_unhonoured(self) -> None:
        """Refuse, by name, what a run cannot treat as the file means it, unless it was accepted.

        Raises
        ------
        InputError
            With every such element, and every name accepted that is none.
        """
        accepted = {name.upper() for name in self.accepted}
        known = {name.upper() for name, _ in self.network.unhonoured}
        accept = 'change the file, or run with it all the same: [grid] accept = ["{0}"], or --accept {0}'
        faults = [
            Fault(str(self.master), name, why, accept.format(name))
            for name, why in self.network.unhonoured
            if name.upper() not in accepted
        ]
        faults += [
            Fault(str(self.master), "accept", f"'{name}' is nothing that would be refused", "leave it out")
            for name in self.accepted
            if name.upper() not in known
        ]
        refuse(faults)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a run repeats of the findings."""
        return tuple(finding.message for finding in self.findings if finding.severity == "warning")

    @property
    def supplies(self) -> tuple[str, ...]:
        """The transformer that feeds the area with most customers, and those in parallel with it."""
        together = [area.transformers for area in self.areas if self.transformer in area.transformers]
        return together[0] if together else (self.transformer,) if self.transformer else ()

    @cached_property
    def homes(self) -> Int:
        """Rows of the customers at low voltage, who alone are drawn what households own, shape (home,)."""
        return np.flatnonzero(self.customer_nominal_v < LOW_VOLTAGE_V)

    @property
    def area_of_customer(self) -> Int:
        """Row of ``areas`` of every customer, shape (customer,); -1 where a customer is in none."""
        found = np.full(len(self.customers), -1, dtype=np.int64)
        for row, area in enumerate(self.areas):
            found[list(area.customers)] = row
        return found

    @cached_property
    def area_of_bus(self) -> Mapping[str, Area]:
        """Area of every bus; without buses in no area."""
        return {bus: area for area in self.areas for bus in area.buses}

    @cached_property
    def limit_currents(self) -> LimitCurrents:
        """Currents of ``limits`` from voltages."""
        return LimitCurrents(self.network, self.limits)

    @cached_property
    def limit_share(self) -> Float:
        """Kilowatts that one of a customer adds to each of ``limits``, shape (limit, customer)."""
        return self._limit_share(np.ones(len(self.load_ends[0]), dtype=bool))

    @cached_property
    def charger_limit_share(self) -> Float:
        """As `limit_share`, of what charges there."""
        who, port = self.spurs
        if not len(who):
            return self.limit_share
        charges = ~np.isin(self.load_ends[0], who)
        charges[port] = True
        return self._limit_share(charges)

    def _limit_share(self, ports: NDArray[np.bool_]) -> Float:
        nominal_v = np.array([limit.nominal_v for limit in self.limits])
        of_ports = self.load_ports[:, ports], self.load_ends[0][ports]
        return self.limit_currents.share(*of_ports, nominal_v, self.port_nominal_v[ports])

    @property
    def transformer_rating_a(self) -> float:
        """Rated current of a phase at the terminals that feed the area with most customers [A]; nan where unknown."""
        if self.transformer is None:
            return float("nan")
        supplies, of_terminal = set(self.supplies), defaultdict[tuple[str, str, float], float](float)
        for limit in self.limits:
            if limit.kind != "line" and set(limit.asset.split("+")) <= supplies:
                # a primary winding that is rated less counts with what it lets through
                ratio = limit.nominal_v / self.nominal_voltage_v if limit.kind == "transformer" else 1.0
                of_terminal[limit.area, limit.phase, limit.nominal_v] += limit.rating_a * ratio
        return min(of_terminal.values(), default=float("nan"))

    @property
    def monitored_branches(self) -> tuple[Branch, ...]:
        """The branches that are watched."""
        return tuple(self.network.branch(name) for name in self.monitored)

    @property
    def phase_limit_a(self) -> float:
        """The smaller of the transformer's and the head line's rated current of a phase [A]; inf where unknown."""
        head = self.network.branch(self.head_line).rating_a if self.head_line else float("nan")
        return float(np.fmin(np.fmin(self.transformer_rating_a, head), np.inf))
