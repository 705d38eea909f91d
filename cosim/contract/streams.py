"""Random numbers of a world: one stream for all of a part, or one of its own for every customer and day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.contract.day import Exogenous
from cosim.network import Int

_DRAWS, _ORDER = 0, 1
"""Second word of the counter: who comes first is not told by what they are like."""

Draw = Callable[[np.random.Generator, Int], tuple[NDArray[Any], ...]]
"""Draws for those of some rows that it is given, by place: arrays whose one axis (the last) is these."""


class Keyed(np.random.Generator):
    """Random numbers of one part of a world, of which every customer and every day has a stream of its own.

    It draws itself what is common to all, such as clouds. `permutation`, and `choice` without replacement, put
    customers in an order that is theirs: of two shares the larger one's contain the smaller one's, and nobody changes
    place where another comes or goes.

    Parameters
    ----------
    seed : int
        Of the world.
    part : str
        What is drawn.
    names : sequence of str, optional
        Customers of whom it is drawn; rows count them.
    numbers : tuple of int, optional
        Up to two: of the day or week, and of what else is drawn then.

    Notes
    -----
    Philox 4x64 (Salmon et al. 2011, doi:10.1145/2063384.2063405) is keyed by seed, part and customer, and its counter
    begins at the day: streams of different keys or counters are independent, and any is reached at once.
    """

    def __init__(self, seed: int, part: str, names: Sequence[str] = (), numbers: tuple[int, ...] = ()) -> None:
        self._of, self._names, self._numbers = (seed, part), tuple(names), numbers
        (key,) = _keys(self._of, ("",))
        super().__init__(np.random.Philox(key=key, counter=self._counter(_DRAWS, numbers)))

    def on(self, *numbers: int) -> Keyed:
        """The same on a day or in a week, by its number."""
        return Keyed(*self._of, self._names, numbers)

    def spawn(self, n_children: int) -> list[Keyed]:  # type: ignore[override]
        """Streams of other draws of the same part."""
        return [self.on(0, child + 1) for child in range(n_children)]

    def of(self, row: int, *numbers: int) -> np.random.Generator:
        """The stream of one customer, to be drawn from before another is asked for."""
        return self._begun(row, _DRAWS, numbers or self._numbers)

    def permutation(self, x: Any, axis: int = 0) -> Any:
        """Rows of customers (or all below a number of them) in the order of these."""
        if not self._names:
            return super().permutation(x, axis)
        rows = np.arange(x) if np.ndim(x) == 0 else np.asarray(x)
        return rows[np.argsort([self._begun(row, _ORDER, self._numbers).random() for row in rows.tolist()])]

    def choice(self, a: Any, size: Any = None, replace: bool = True, *more: Any, **other: Any) -> Any:
        """The first so many of `permutation`, where none may come twice; ValueError where that is asked otherwise."""
        if replace or not self._names:
            return super().choice(a, size, replace, *more, **other)
        if more or other:
            raise ValueError(
                "customers come in an order of their own: choice(a, size, replace=False) takes no p or axis"
            )
        return self.permutation(a)[:size]

    def _begun(self, row: int, kind: int, numbers: tuple[int, ...]) -> np.random.Generator:
        state = {"key": _keys(self._of, self._names)[row], "counter": self._counter(kind, numbers)}
        self._one.bit_generator.state = self._begin | {"state": state}
        return self._one

    @cached_property
    def _one(self) -> np.random.Generator:
        """Made once and set to the beginning of every stream, which takes a tenth of making one."""
        return np.random.Generator(np.random.Philox(key=0))

    @cached_property
    def _begin(self) -> dict[str, Any]:
        return dict(self._one.bit_generator.state)

    @staticmethod
    def _counter(kind: int, numbers: tuple[int, ...]) -> NDArray[np.uint64]:
        first, second = (*numbers, 0, 0)[:2]
        return np.array([0, kind, second, first], np.uint64)


@lru_cache(maxsize=32)
def _keys(of: tuple[int, str], names: tuple[str, ...]) -> list[NDArray[np.uint64]]:
    """Of 128 bits, as many as Philox has."""
    told = ["/".join((*map(str, of), name.casefold())) for name in names]
    return [np.frombuffer(blake2b(one.encode(), digest_size=16).digest(), np.uint64) for one in told]


def on(rng: np.random.Generator, root: int | None, *numbers: int) -> np.random.Generator:
    """Random numbers of a day or week: by its number, from a root that was drawn before; of None the stream goes on."""
    if isinstance(rng, Keyed):
        return rng.on(*numbers)
    return rng if root is None else np.random.default_rng([root, *numbers])


def each(
    rng: np.random.Generator, rows: Int | Sequence[int], draw: Draw, *, numbers: Int | None = None, axis: int = -1
) -> tuple[NDArray[Any], ...]:
    """Draw for some customers: together from one stream, or each from its own.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of all, or `Keyed`.
    rows : sequence of int
        Rows of the customers; one may come several times.
    draw : callable
        See `Draw`.
    numbers : ndarray of int, optional
        What else tells those apart, such as the minute of an arrival.
    axis : int
        Of what is drawn, the one of the customers.
    """
    everybody = np.arange(len(rows))
    if not isinstance(rng, Keyed) or not len(rows):
        return draw(rng, everybody)
    told = [()] * len(rows) if numbers is None else [(number,) for number in numbers.tolist()]
    drawn = [draw(rng.of(int(row), *told[place]), everybody[place : place + 1]) for place, row in enumerate(rows)]
    return tuple(np.concatenate(parts, axis=axis) for parts in zip(*drawn, strict=True))


def of_sessions(rng: np.random.Generator, day: Exogenous, draw: Draw) -> tuple[NDArray[Any], ...]:
    """Draw for every session of a day, as `each`: by its customer and the minute of its arrival."""
    begin_min = day.start.toordinal() * 1440 + day.start.hour * 60 + day.start.minute
    arrival_min = np.floor(day.sessions.arrival_min).astype(np.int64)
    return each(rng, day.sessions.customer, draw, numbers=begin_min + arrival_min)
