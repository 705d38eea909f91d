"""Try every broken input, and print what became of them door by door: ``python -m tests.border [WORDS OF A CASE]``."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.border.case import examine
from tests.border.doors import all_cases, by_door


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
    print(
        f"{'door':12} {'cases':>6} {'exit 2 with remedy':>20} {'exit 3 with step':>18} {'harmless, taken':>17} {'other':>7}"
    )
    for door, cases in by_door(chosen).items():
        found = [right[door, verdict] for verdict in ("refused", "stopped", "accepted")]
        print(f"{door:12} {len(cases):6} {found[0]:20} {found[1]:18} {found[2]:17} {wrong[door]:7}")
    totals = [
        sum(n for (_, kind), n in right.items() if kind == verdict) for verdict in ("refused", "stopped", "accepted")
    ]
    print(f"{'all':12} {len(chosen):6} {totals[0]:20} {totals[1]:18} {totals[2]:17} {wrong.total():7}")
    return int(wrong.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
