"""Compare the goldens with what the code does now, and renew them.

``python -m tests.golden`` shows every difference and writes nothing; ``--write`` also writes the new values; words
after it choose cases by parts of their names; ``--fast`` leaves the slow ones as they are. See ``README.md`` here.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.golden.cases import all_cases
from tests.golden.values import RENEW, differences, read, taken, write


def main() -> int:
    """Return 1 where something differs and was not written."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", help="only cases whose name contains one of these")
    parser.add_argument("--write", action="store_true", help="write the new values")
    parser.add_argument("--fast", action="store_true", help="leave out what only make test-all runs")
    parser.add_argument("--shake", action="store_true", help="change every load by a billionth: finds ties; no --write")
    parser.add_argument("--times", action="store_true", help="show the CPU seconds of every case")
    given = parser.parse_args()
    old, cases = read(), all_cases()
    goldens = {name: old[name] for name in cases if name in old}
    count = 0
    for name, case in cases.items():
        if (given.fast and case.slow) or (given.parts and not any(part in name for part in given.parts)):
            continue
        began = time.process_time()
        goldens[name] = taken(case.run(1e-9 if given.shake else 0.0), case.tied)
        if given.times:
            print(f"{time.process_time() - began:7.2f} s  {name}", flush=True)
        if name not in old:
            print(f"{name}: new", flush=True)
            count += 1
            continue
        for difference in differences(name, old[name], goldens[name]):
            print(difference, flush=True)
            count += 1
    gone = [name for name in old if name not in cases]
    for name in gone:
        print(f"{name}: gone")
    count += len(gone)
    if given.write and not given.shake:
        write({name: goldens[name] for name in cases if name in goldens})
        print(f"{count} differences written to tests/golden/values")
        return 0
    print(f"{count} differences" + (f"; if they are meant: {RENEW}" if count else ""))
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
