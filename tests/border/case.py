"""One broken input: files, a command, and what must become of it; and a look at what does."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cosim.experiments import cli

Verdict = Literal["refused", "stopped", "accepted"]
"""Exit 2 with place, key and remedy; exit 3 with step and reason; exit 0, because it is harmless."""

Content = str | bytes | Callable[[Path], object] | None
"""Of a file: text, bytes, what writes it, or None for a folder of that name."""

LONGEST_S = 60
_CODES = {"refused": 2, "stopped": 3, "accepted": 0}
_USAGE = re.compile(r"Try '.* --help'")  # of the command line's own parser, which says what it expects
_STEP = re.compile(r"step \d+")


@dataclass(frozen=True)
class Case:
    """A broken input.

    Attributes
    ----------
    door : str
        Where it comes in.
    name : str
        What is broken.
    arguments : tuple of str
        Of the command line, in a folder of its own.
    files : mapping
        Content by name, in that folder.
    verdict : str
        What must become of it.
    words : tuple of str
        Must be in the message: the key at fault, or the file.
    """

    door: str
    name: str
    arguments: tuple[str, ...]
    files: Mapping[str, Content] = field(default_factory=dict)
    verdict: Verdict = "refused"
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.door}: {self.name}"


@dataclass(frozen=True)
class Seen:
    """What became of a case: how it ended in one word, what was said, and what is wrong with that (empty: nothing)."""

    ended: str
    said: str
    wrong: str


class _Hang(BaseException):
    """No Exception, so that nobody catches it by accident."""


def examine(case: Case, folder: Path) -> Seen:
    """Run a case in an empty folder, in this process."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        elif content is None:
            path.mkdir()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8")
    out, err = io.StringIO(), io.StringIO()
    ended, code = "", 0
    with _inside(folder, case.arguments), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except _Hang:
            ended = "hang"
        except BaseException as error:
            ended = f"traceback ({type(error).__name__}: {error})"
        moved = str(Path.cwd()) if Path.cwd() != folder.resolve() else ""
    said = " ".join((err.getvalue() + (out.getvalue() if code else "")).split())
    if not ended and "Traceback (most recent call last)" in said:
        ended = "traceback"
    if not ended and moved:
        ended = f"moved to {moved}"
    if not ended:
        ended = {2: "refused", 3: "stopped", 0: "accepted"}.get(code, f"exit {code}")
    return Seen(ended, said, _wrong(case, ended, said))


def _wrong(case: Case, ended: str, said: str) -> str:
    if ended != case.verdict:
        return f"{ended}, not {case.verdict}"
    if ended == "refused" and "→" not in said and not _USAGE.search(said):
        return "refused without a remedy"
    if ended == "stopped" and not _STEP.search(said):
        return "stopped without naming the step"
    missing = [word for word in case.words if word not in said] if ended != "accepted" else []
    return f"says nothing of {', '.join(missing)}" if missing else ""


@contextlib.contextmanager
def _inside(folder: Path, arguments: tuple[str, ...]) -> Iterator[None]:
    """In the folder, with these arguments, and with an alarm: a hang is a finding, not the end."""

    def strike(*_: object) -> None:
        raise _Hang

    here, argv, before = Path.cwd(), sys.argv, signal.signal(signal.SIGALRM, strike)
    os.chdir(folder)
    sys.argv = ["cosim", *arguments]
    signal.alarm(LONGEST_S)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        sys.argv = argv
        os.chdir(here)
