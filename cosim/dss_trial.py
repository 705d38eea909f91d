"""A circuit that is not shipped is compiled by a child process first.

A ``.dss`` file is code, and a broken one can crash the engine, and Python with it, or never end.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cosim import dss_child
from cosim.dss_files import files_of, hashes_of, is_shipped, misspelt
from cosim.errors import Fault, InputError

TRIAL_LIMIT_S = 60.0
"""The child's time. The European LV feeder takes 0.1 s and a circuit of 100,000 lines some 10 s, on a slow machine
twice that; who waits longer waits for a file that solves a year, or for ever."""

_LONGEST = 300
"""Letters of the engine's words that are told."""

_TRIED = "COSIM_CIRCUITS_TRIED"
"""Environment variable with what has been tried: worker processes inherit it, and do not try again."""

_listed: dict[Path, tuple[Path, ...]] = {}
"""Files of the circuits that have been tried, so that only their bytes are looked at the next time."""


def try_alone(master: Path, commands: Sequence[str]) -> None:
    """Have a child process compile a circuit, unless it is shipped, or its files have been tried as they are.

    Parameters
    ----------
    master : Path
        File that defines the circuit.
    commands : sequence of str
        What to tell OpenDSS; the first compiles.

    Raises
    ------
    InputError
        Where OpenDSS refuses the circuit, crashes on it or does not finish, and as `files_of`.
    """
    if is_shipped(master):
        return
    master = master.resolve()
    tried = os.environ.get(_TRIED, "").split()
    known = _listed.get(master, ())
    if known and all(file.is_file() for file in known) and _fingerprint(master, known, commands) in tried:
        return
    _listed[master] = files_of(master)
    fingerprint = _fingerprint(master, _listed[master], commands)
    if fingerprint in tried:
        return
    # -P: the names of our modules are for us only. No input: nothing can wait for an answer.
    call = [sys.executable, "-P", dss_child.__file__, str(int(TRIAL_LIMIT_S) + 1), *commands]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            call, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=TRIAL_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        problem = f"OpenDSS has not compiled it after {TRIAL_LIMIT_S:g} s"
        remedy = "take out commands that solve for long, wait or repeat, until OpenDSS compiles it by itself"
        raise InputError(Fault(str(master), "", problem, remedy)) from None
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode == dss_child.REFUSED:
        raise _also_misspelt(master, refused(master, said))
    if done.returncode:
        code = done.returncode
        ending = f"signal {-code}: {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"
        problem = f"OpenDSS crashes on it ({ending})"
        remedy = "take lines out until it compiles, and mend the last one taken out"
        raise InputError(Fault(str(master), "", problem, remedy))
    os.environ[_TRIED] = " ".join([*tried, fingerprint])


def _also_misspelt(master: Path, error: InputError) -> InputError:
    """The same refusal, with the names of files that differ from those that are there in capital letters only."""
    wrong = [f"asks for {name}, but the file is {there}" for name, there in misspelt(master).items()]
    if not wrong:
        return error
    (fault,) = error.faults
    remedy = "write names as the files have them, or try `cosim feeder PATH --fix-case`, which reads a repaired copy"
    return InputError([Fault(fault.where, "", f"{fault.problem}; it {one}", remedy) for one in wrong[:5]])


def refused(master: Path, said: str) -> InputError:
    """What OpenDSS says of a file, as a fault of the file and line that it names, without its frame."""
    place = re.search(r'\[file: "([^"]+)", line: ([1-9]\d*)\]', said)
    told = re.sub(r'\[file: "[^"]*", line: \d+\]', "", said)
    described = re.search(r"Error Description:(.*?)Probable Cause:", told, re.DOTALL)
    number = re.match(r"\(#\d+\) ", told)
    if described:
        told = (number[0] if number else "") + described[1]
    told = " ".join(told.split())
    told = told if len(told) <= _LONGEST else f"{told[:_LONGEST]}…"
    where = f"{place[1]}, line {place[2]}" if place else str(master)
    return InputError(Fault(where, "", f"OpenDSS refuses it: {told}", "mend it until OpenDSS compiles it by itself"))


def _fingerprint(master: Path, files: Sequence[Path], commands: Sequence[str]) -> str:
    text = repr((commands, sorted(hashes_of(master, files).items())))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]
