"""Tests of a copy, in a fork of a server that has the libraries loaded: most of a short run of tests is imports."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from tests.mutants.catalogue import ROOT

LONGEST_S = 600.0
"""Tests that hang on a mutant have noticed it."""
PRELOADED = (
    "pytest", "numpy", "pandas", "pyarrow.parquet", "scipy.sparse.linalg", "scipy.optimize", "scipy.stats", "pvlib",
    "opendssdirect", "pydantic", "rich.console", "pymoo.core.algorithm", "pyomo.environ", "highspy",
    "matplotlib.figure", "threadpoolctl",
)  # fmt: skip
"""Libraries that a server imports once; every run of tests is a fork of it. Nothing of the project is among them."""


def tested(copy: Path, tests: Iterable[str]) -> tuple[int | None, str, float]:
    """Run tests inside a copy: pytest's exit code (None where they took too long), what it printed, CPU time [s]."""
    context = get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    log = copy / "tests.log"
    log.unlink(missing_ok=True)
    process = context.Process(target=_run_tests, args=(copy, list(tests), log))
    process.start()
    process.join(LONGEST_S)
    if process.is_alive():
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # and what the tests have started
        process.join()
        return None, "", LONGEST_S
    said = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    cpu_s = re.search(r"\n([\d.]+)$", said)  # not there where the process itself was killed
    return process.exitcode, said, float(cpu_s[1]) if cpu_s else 0.0


def _run_tests(copy: Path, tests: list[str], log: Path) -> None:
    """Run pytest in this process, as if it had been started in the copy."""
    os.setpgrp()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(copy)
    os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path[:] = [str(copy), *[place for place in sys.path if Path(place).resolve() != ROOT]]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    import cosim  # of the copy

    if copy.resolve() not in Path(cosim.__file__).resolve().parents:
        raise RuntimeError(f"the tests would run {cosim.__file__} instead of the copy")
    import pytest

    code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
    sys.stdout.flush()
    os.write(output, f"\n{sum(os.times()[:4]):.2f}".encode())
    os._exit(code)
