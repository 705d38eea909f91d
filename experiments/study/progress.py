"""How far many tasks are, shown to whoever waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from cosim.experiments.study.runner import Counts

_LINE_EVERY_S = 60.0


@contextmanager
def shown_on(console: Console, first: str) -> Iterator[Callable[[str, Counts], None]]:
    """Show how far it is, the rate, the time left and failures: what is done, and its counts, are given as they change.

    In place on a terminal, with ``first`` until there is something to count; else a line each minute and one at the end
    of a part.
    """
    said: dict[str, tuple[int, float]] = {}

    def progress(what: str, now: Counts) -> None:
        many, line = now.before + now.done, f"{what}: {now.before + now.done} of {now.total}"
        if now.done and now.total is not None:
            left_h = (now.total - many) / now.rate_per_s / 3600.0
            line += f", {3600.0 * now.rate_per_s:.4g} an hour, {left_h:.2f} h left"
        if now.failed:
            line += f", {now.failed} failed"
        status.update(line)
        before, at_s = said.get(what, (-1, -_LINE_EVERY_S))
        if not console.is_terminal and many > before and (many == now.total or now.elapsed_s - at_s >= _LINE_EVERY_S):
            said[what] = many, now.elapsed_s
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    with console.status(first) as status:
        yield progress
