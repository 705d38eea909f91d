"""A day, one step at a time: for whoever wants to hold the loop in own hands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from cosim.collapse import ON_COLLAPSE
from cosim.contract import Engine, Exogenous, Feeder, Forecast, Observation, Setpoints
from cosim.devices.group import own_kw
from cosim.guard import check_setpoints
from cosim.households import Behaviour
from cosim.meters import Meters, MeterSpec
from cosim.plant import Plant
from cosim.threads import ONE_THREAD
from cosim.trajectory import Trajectory

ENGINES = {"opendss": "cosim.opendss:OpenDssEngine", "reduced": "cosim.reduced_engine:ReducedEngine"}
"""Power flows by name, imported only when used."""


_ON_STEPS: WeakKeyDictionary[Exogenous, dict[tuple[Feeder, float], Exogenous]] = WeakKeyDictionary()
"""Days on the steps of runs, for as long as the day is there: the same for every controller."""


class World(Protocol):
    """A feeder with a day on it, as ``cosim.load`` makes it."""

    @property
    def feeder(self) -> Feeder:
        """The place."""

    @property
    def exogenous(self) -> Exogenous:
        """What nobody controls."""

    @property
    def forecast(self) -> Forecast:
        """What is told beforehand."""

    @property
    def behaviour(self) -> Behaviour:
        """How households react."""

    @property
    def meters(self) -> MeterSpec | None:
        """What controllers see of it; None: the truth."""

    @property
    def step_min(self) -> float:
        """Length of a step of its runs [min]."""

    @property
    def on_collapse(self) -> str:
        """What a step without solution does: ``stop`` or ``shed``."""

    def redraw(self, seed: int) -> World:
        """Return the same question with everything that is drawn drawn from another seed."""


@dataclass(frozen=True, eq=False)
class _Given:
    """A world of a feeder and own arrays."""

    feeder: Feeder
    exogenous: Exogenous
    forecast: Forecast
    behaviour: Behaviour
    meters: MeterSpec | None = None
    step_min: float = 5.0
    on_collapse: str = "stop"

    def redraw(self, seed: int) -> World:
        raise ValueError(f"reset(seed={seed}): this day was given, not drawn; make the stepper from cosim.load")


class Stepper:
    """A feeder and a day, stepped by hand: the loop of ``cosim.run`` turned inside out.

    >>> stepper = Stepper(cosim.load("two_bus_evening"), engine="reduced")
    >>> observation = stepper.reset()
    >>> while not stepper.done:
    ...     observation = stepper.step(Setpoints.free(3))

    Parameters
    ----------
    world : Feeder or World
        A day as ``cosim.load`` gives it, or a feeder, and then ``exogenous`` too.
    exogenous : Exogenous, optional
        What nobody controls; averaged to ``step_min``.
    engine : str or Engine
        ``opendss`` or ``reduced``, or one that was made for this feeder.
    step_min : float, optional
        Length of a step [min]; that of the world, of a feeder and own arrays 5.
    forecast : Forecast, optional
        What households and controllers are told beforehand; of the world itself, else perfect foresight (``oracle``).
    behaviour : Behaviour, optional
        How households react; of the world itself, else cheapest hours first, all obeying.
    on_collapse : str, optional
        What a step without power flow does: ``stop`` (raises), or ``shed`` (in every area as much is served as solves,
        see `cosim.collapse`); of the world itself, else ``stop``.
    meters : MeterSpec, optional
        What is seen of the world; of the world itself, else the truth.

    Raises
    ------
    ValueError
        Where the steps do not fit the day, or engine or ``on_collapse`` is unknown.
    """

    def __init__(
        self,
        world: Feeder | World,
        exogenous: Exogenous | None = None,
        *,
        engine: str | Engine = "opendss",
        step_min: float | None = None,
        forecast: Forecast | None = None,
        behaviour: Behaviour | None = None,
        on_collapse: str | None = None,
        meters: MeterSpec | None = None,
    ) -> None:
        if on_collapse not in (None, *ON_COLLAPSE):
            raise ValueError(f"on_collapse={on_collapse!r} must be one of {', '.join(ON_COLLAPSE)}")
        if isinstance(world, Feeder):
            if exogenous is None:
                raise TypeError("a feeder needs a day: give exogenous too, or a day as cosim.load makes it")
            world = _Given(world, exogenous, Forecast("oracle", exogenous), Behaviour())
        self._world, self._wanted, self._given = world, engine, (forecast, behaviour)
        self._on_collapse, self._meter_spec = on_collapse, meters
        self._meters: Meters | None = None
        self._plant: Plant | None = None
        self.step_min = world.step_min if step_min is None else step_min
        self._take(world)

    def reset(self, seed: int | None = None) -> Observation:
        """Return to the first moment; what is observed there is the power flow that the forecast expects.

        Parameters
        ----------
        seed : int, optional
            Draw homes, cars and clouds anew from it; without one, the same day again.

        Raises
        ------
        ValueError
            Where a seed is given but the day was not drawn (a feeder and own arrays).
        """
        if seed is not None:
            self._take(self._world.redraw(seed))
        self._plant = Plant(
            self.feeder,
            self.exogenous,
            self._engine,
            self.forecast.expected,
            self.behaviour,
            self._on_collapse or self._world.on_collapse,
        )
        spec = self._meter_spec or self._world.meters
        self._meters = Meters(spec, self.feeder, self.forecast.expected) if spec else None
        with ONE_THREAD:
            first = self._plant.reset()
        return self._meters.report(first) if self._meters else first

    def observe(self) -> Observation:
        """What meters report of the step that ended; to be asked once a step."""
        true = self.plant.observe()
        return self._meters.report(true) if self._meters else true

    def step(self, setpoints: Setpoints) -> Observation:
        """Let setpoints act for one step, and return what the meters then report.

        Parameters
        ----------
        setpoints : Setpoints
            What acts in this step.

        Returns
        -------
        Observation
            Means of the step that ended, for the decision about the next.

        Raises
        ------
        ControllerError
            Where the setpoints have wrong shapes, nan or negative limits.
        PowerFlowError
            Where there is no power flow, or one at which customers are not served.
        ValueError
            Before ``reset``, and after the last step.
        """
        if self.done:
            raise ValueError(f"all {self.steps} steps are done: reset() begins again")
        check_setpoints(setpoints, len(self.feeder.customers), self.steps)
        with ONE_THREAD:
            self.plant.announce(setpoints.decision)
            self.plant.step(setpoints)
            return self.observe()

    def trajectory(self, label: str = "run", *, control_min: float | None = None, **outcome: Any) -> Trajectory:
        """Everything that happened since ``reset``, for measures and figures; incomplete before the last step."""
        return self.plant.trajectory(label, self.step_min if control_min is None else control_min, **outcome)

    @property
    def metered(self) -> bool:
        """Whether meters stand between the world and who looks at it, which then have to be read at every step."""
        return self._meters is not None

    @property
    def plant(self) -> Plant:
        """The physical world of the day that runs; ValueError before ``reset``."""
        if self._plant is None:
            raise ValueError("reset() comes first")
        return self._plant

    @property
    def steps(self) -> int:
        """Number of steps of the day."""
        return self.exogenous.steps

    @property
    def done(self) -> bool:
        """Whether the last step is over; ValueError before ``reset``."""
        return self.plant.completed == self.steps

    def close(self) -> None:
        """Let go of the power flow, unless it was given: OpenDSS holds what it took until the process ends."""
        if hasattr(self, "_engine") and self._engine is not self._wanted:
            close_engine(self._engine)

    def _take(self, world: World) -> None:
        forecast, behaviour = self._given
        told = forecast or world.forecast
        if getattr(self, "feeder", None) is not world.feeder:
            self.close()
            self._engine = make_engine(self._wanted, world.feeder) if isinstance(self._wanted, str) else self._wanted
        self.feeder = world.feeder
        self.exogenous = self._on_steps(world.exogenous)
        self.forecast = Forecast(
            told.kind, self.exogenous if told.expected is world.exogenous else self._on_steps(told.expected)
        )
        self.behaviour = behaviour or world.behaviour

    def _on_steps(self, day: Exogenous) -> Exogenous:
        """The day on the steps of the run, with what its devices will draw by themselves."""
        known = _ON_STEPS.setdefault(day, {})
        if (key := (self.feeder, self.step_min)) not in known:
            on_steps = day.resample(self.step_min)
            if on_steps.devices and on_steps.devices_kw is None:
                drawn_kw, load_kw = own_kw(self.feeder, on_steps)
                on_steps = replace(on_steps, devices_kw=drawn_kw, devices_load_kw=load_kw)
            if on_steps is day:
                return day
            known[key] = on_steps
        return known[key]


def make_engine(name: str, feeder: Feeder) -> Engine:
    """Make the power flow of that name for a feeder; ValueError where there is none."""
    if name not in ENGINES:
        raise ValueError(f"engine={name!r} must be one of {', '.join(ENGINES)}")
    module, attribute = ENGINES[name].split(":")
    engine: Engine = getattr(import_module(module), attribute)(feeder)
    return engine


def close_engine(engine: Engine) -> None:
    """Let go of what an engine holds; it solves nothing any more."""
    if close := getattr(engine, "close", None):
        close()


class Engines:
    """Power flows of one feeder, each made when first asked for: of runs that follow one another, week by week."""

    def __init__(self, feeder: Feeder, engine: str) -> None:
        self.feeder, self._of_runs = feeder, engine
        self._made: dict[str, Engine] = {}

    def __call__(self, name: str | None = None) -> Engine:
        """Return the one of that name; without one that of the runs."""
        name = name or self._of_runs
        if name not in self._made:
            self._made[name] = make_engine(name, self.feeder)
        return self._made[name]

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._made.values():
            close_engine(engine)
