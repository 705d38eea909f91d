"""Try every broken input, and print what became of them door by door: ``python -m tests.border [WORDS OF A CASE]``."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.border.case import examine
from tests.border.doors import all_cases, by_door

VERDICTS = ("refused", "stopped", "accepted")
HEADS = ("exit 2 with remedy", "exit 3 with step", "harmless, taken", "other")
ROW = "{:12} {:>6} {:>20} {:>18} {:>17} {:>7}"


def main() -> int:
    """Return 1 where anything became of a case that should not have."""
    words = " ".join(sys.argv[1:])
    chosen = [case for case in all_cases() if words in str(case)]
    wrong, right = Counter(), Counter()
    for case in chosen:
        with tempfile.TemporaryDirectory() as folder:
            seen = examine(case, Path(folder))
        right[case.door, case.verdict] += not seen.wrong
        wrong[case.door] += bool(seen.wrong)
        if seen.wrong or words:
            print(f"{case}: {seen.wrong or 'as it should be'}\n    {seen.said[:500]}")
    print(ROW.format("door", "cases", *HEADS))
    for door, cases in by_door(chosen).items():
        print(ROW.format(door, len(cases), *(right[door, verdict] for verdict in VERDICTS), wrong[door]))
    totals = [sum(n for (_, kind), n in right.items() if kind == verdict) for verdict in VERDICTS]
    print(ROW.format("all", len(chosen), *totals, wrong.total()))
    return int(wrong.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
