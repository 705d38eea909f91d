"""Apply mutants one by one to a copy of the project, and see whether the tests notice: ``python -m tests.mutants``.

Exit code 0 where all are killed, 1 where any survives, 2 where the catalogue or the tests are not in order.
"""

from __future__ import annotations

import argparse
import compileall
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter

from tests.mutants.catalogue import ROOT, Mutant, catalogue

LONGEST_S = 120.0
"""Tests that hang on a mutant have noticed it."""
KILLED, SURVIVED = "killed", "SURVIVED"
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "runs", "dist", "*.egg-info")


def main() -> int:
    """Run the mutants that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants to run (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (default: 2)")
    parser.add_argument("--list", action="store_true", help="print the names and what each would get wrong")
    asked = parser.parse_args()
    known = {mutant.name: mutant for mutant in catalogue()}
    unknown = sorted(set(asked.names) - known.keys())
    chosen = [known[name] for name in asked.names if name in known] or list(known.values())
    if asked.list:
        print("\n".join(f"{mutant.name:32} {mutant.why}" for mutant in chosen))
        return 0
    faults = [f"no mutant is called {name}" for name in unknown] + [f for mutant in chosen for f in mutant.faults()]
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 2
    return report(chosen, asked.jobs)


def report(chosen: Sequence[Mutant], jobs: int) -> int:
    """Run mutants in so many copies, print one line for each, and return the exit code."""
    began = perf_counter()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            copies.put(copied(Path(folder) / str(number)))
        everything = dict.fromkeys(test for mutant in chosen for test in mutant.tests)
        with lent(copies) as copy:
            code, said = tested(copy, everything, longest_s=None)
        if code != 0:
            print(said, "the tests fail without any mutant: mend them first", sep="\n", file=sys.stderr)
            return 2

        def judge(mutant: Mutant) -> str:
            with lent(copies) as copy:
                began_s = perf_counter()
                verdict = judged(mutant, copy)
            print(f"{verdict:10} {mutant.name:32} {perf_counter() - began_s:5.1f} s  {mutant.why}", flush=True)
            return verdict

        with ThreadPoolExecutor(jobs) as pool:
            verdicts = list(pool.map(judge, chosen))
    killed = sum(verdict.startswith(KILLED) for verdict in verdicts)
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_min, wall_min = (use.ru_utime + use.ru_stime) / 60.0, (perf_counter() - began) / 60.0
    print(f"{killed} of {len(chosen)} killed, {cpu_min:.1f} min of CPU, {wall_min:.1f} min")
    return 0 if killed == len(chosen) else 1


def judged(mutant: Mutant, copy: Path) -> str:
    """Apply a mutant to a copy, run its tests there, and put the copy right again."""
    path = copy / mutant.file
    before = path.read_bytes()
    # its compiled file could pass for the mutant's: Python compares sizes and whole seconds only
    for stale in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        stale.unlink()
    path.write_text(mutant.applied(before.decode("utf-8")), encoding="utf-8")
    try:
        code, said = tested(copy, mutant.tests, LONGEST_S)
    finally:
        path.write_bytes(before)
    if code is None:
        return f"{KILLED} (late)"
    # 1 is a test that fails; anything else is a mutant that no test has met, such as one that cannot be imported
    return {0: SURVIVED, 1: KILLED}.get(code) or f"BROKEN: {said}"


def tested(copy: Path, tests: Iterable[str], longest_s: float | None) -> tuple[int | None, str]:
    """Run tests inside a copy; pytest's exit code (None where they took too long), and what it printed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - our own tests
            command, cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=longest_s
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout + done.stderr


def copied(copy: Path) -> Path:
    """Copy the project, compiled, so that nothing is ever changed in the project itself."""
    shutil.copytree(ROOT, copy, ignore=_LEFT_OUT, symlinks=True)
    for room in ("cosim", "controllers", "experiments", "feeders", "tests"):
        compileall.compile_dir(copy / room, quiet=2)
    command = [sys.executable, "-c", "import cosim; print(cosim.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    found = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    if copy.resolve() not in Path(found.stdout.strip()).resolve().parents:
        raise RuntimeError(f"the tests would run {found.stdout.strip()} instead of the copy")
    return copy


@contextmanager
def lent(copies: SimpleQueue[Path]) -> Iterator[Path]:
    """Take a copy that nobody uses, and give it back."""
    copy = copies.get()
    try:
        yield copy
    finally:
        copies.put(copy)


if __name__ == "__main__":
    sys.exit(main())
