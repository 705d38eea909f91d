"""Apply mutants one by one to a copy of the project, and see whether the tests notice: ``python -m tests.mutants``.

Exit code 0 where all are killed, 1 where any survives, 2 where the catalogue or the tests are not in order.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter

from tests.mutants.catalogue import ROOT, Mutant, catalogue
from tests.mutants.forked import tested

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
        print("\n".join(f"{mutant.name:38} {mutant.why}" for mutant in chosen))
        return 0
    faults = [f"no mutant is called {name}" for name in unknown] + [f for mutant in chosen for f in mutant.faults()]
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 2
    return report(chosen, asked.jobs)


def report(chosen: Sequence[Mutant], jobs: int) -> int:
    """Run mutants in so many copies, print one line for each, and return the exit code."""
    began, spent_s = perf_counter(), [0.0]
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before the server loads it
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(jobs) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            copies.put(copied(Path(folder) / str(number)))

        def untouched(test: str) -> str:
            with lent(copies) as copy:
                code, said, cpu_s = tested(copy, [test])
                spent_s.append(cpu_s)
            return "" if code == 0 else f"{said}\n{test} fails without any mutant: mend it first"

        def judge(mutant: Mutant) -> str:
            with lent(copies) as copy:
                verdict, cpu_s = judged(mutant, copy)
                spent_s.append(cpu_s)
            print(f"{verdict:10} {mutant.name:38} {cpu_s:5.1f} s  {mutant.why}", flush=True)
            return verdict

        files = dict.fromkeys(test for mutant in chosen for test in mutant.tests)
        faults = [fault for fault in pool.map(untouched, files) if fault]
        if faults:
            print("\n".join(faults), file=sys.stderr)
            return 2
        verdicts = list(pool.map(judge, chosen))
    killed = sum(verdict.startswith(KILLED) for verdict in verdicts)
    wall_min = (perf_counter() - began) / 60.0
    print(f"{killed} of {len(chosen)} killed, {sum(spent_s) / 60.0:.1f} min of CPU, {wall_min:.1f} min")
    return 0 if killed == len(chosen) else 1


def judged(mutant: Mutant, copy: Path) -> tuple[str, float]:
    """Apply a mutant to a copy, run its tests there, put the copy right again; verdict and CPU time [s]."""
    path = copy / mutant.file
    before = path.read_bytes()
    # its compiled file could pass for the mutant's: Python compares sizes and whole seconds only
    for stale in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        stale.unlink()
    path.write_text(mutant.applied(before.decode("utf-8")), encoding="utf-8")
    try:
        code, said, cpu_s = tested(copy, mutant.tests)
    finally:
        path.write_bytes(before)
    if code is None:
        return f"{KILLED} (late)", cpu_s
    # 1 is a test that fails; anything else is a mutant that no test has met, such as one that cannot be imported
    return {0: SURVIVED, 1: KILLED}.get(code) or f"BROKEN: {said}", cpu_s


def copied(copy: Path) -> Path:
    """Copy the project, compiled, so that nothing is ever changed in the project itself."""
    shutil.copytree(ROOT, copy, ignore=_LEFT_OUT, symlinks=True)
    for room in ("cosim", "controllers", "experiments", "feeders"):
        compileall.compile_dir(copy / room, quiet=2)
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
