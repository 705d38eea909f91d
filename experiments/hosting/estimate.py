"""What a hosting study would take: counted, and timed on one week and one day under every controller."""

from __future__ import annotations

from time import process_time
from typing import Any, NamedTuple

from cosim.experiments.hosting.asked import OPTIMUM, TEST_DAY, UNCONTROLLED, Asked, built
from cosim.experiments.hosting.search import most_runs
from cosim.experiments.hosting.tasks import WEEKS_OF_A_YEAR, search_task, week, year, year_task
from cosim.experiments.hosting.worlds import Network
from cosim.threads import ONE_THREAD

_DAYS = 2
"""Critical days, at most."""


class Estimate(NamedTuple):
    """What a study would take at most: of every placement the longest search, and reinforcements that can all be had.

    Attributes
    ----------
    searches : int
        Of placements, under each controller and with each reinforcement.
    runs, weeks : int
        Days, and whole weeks, that are run.
    hours : float
        Of one processor [h].
    disk_mb : float
        Of all rows [MB].
    run_s : dict of str to float
        Processor time of a day by controller, of the feeder where it takes longest [s].
    """

    searches: int
    runs: int
    weeks: int
    hours: float
    disk_mb: float
    run_s: dict[str, float]

    def words(self, jobs: int) -> str:
        """The estimate as it is printed."""
        times = ", ".join(f"{name} {run_s:.2g} s" for name, run_s in self.run_s.items())
        return (
            f"{self.searches} searches of a placement: at most {self.runs} days and {self.weeks} weeks are run\n"
            f"at most about {self.hours:.3g} processor hours (a day: {times}), {self.hours / jobs:.3g} h with --jobs "
            f"{jobs}\nat most about {self.disk_mb:.3g} MB on disk"
        )


@ONE_THREAD
def estimate(asked: Asked) -> Estimate:
    """Run a week without control and a day under every controller on each feeder, and keep nothing.

    Raises
    ------
    InputError
        As `built`.
    """
    config, method = asked.config, asked.config.method
    series = [*dict.fromkeys(asked.controllers), *[UNCONTROLLED] * len(config.reinforcement)]
    of_series = [(name, method.placements) for name in series]
    if OPTIMUM not in asked.controllers and method.optimum:
        of_series.append((OPTIMUM, min(method.optimum, method.placements)))
    searches = runs = weeks = values = 0
    used_s, longest_s = 0.0, dict[str, float]()
    for network, feeder in built(asked, []).values():
        homes, began_s = round(method.year_penetration_percent / 100.0 * len(feeder.homes)), process_time()
        year(year_task(network, asked.technology, homes, 0, method.year_step_minutes).payload)
        week_s, most = process_time() - began_s, most_runs(len(feeder.homes), method.grid, _DAYS)
        used_s += WEEKS_OF_A_YEAR * week_s
        rows = {name: _row_of_a_day(asked, network, name, homes) for name, _ in of_series}
        for name, placements in of_series:
            again, run_s = _DAYS * min(method.weeks, placements), rows[name]["run_s"]
            used_s += placements * (most * run_s + _DAYS * week_s) + again * TEST_DAY.week.days * run_s
            searches, runs, weeks = searches + placements, runs + most * placements, weeks + again
            values += (most * placements + again) * len(rows[name])
            longest_s[name] = max(run_s, longest_s.get(name, 0.0))
    return Estimate(searches, runs, weeks, used_s / 3600.0, 8.0 * values / 1e6, longest_s)


def _row_of_a_day(asked: Asked, network: Network, controller: str, homes: int) -> dict[str, Any]:
    task = search_task(network, asked.technology, controller, 1, asked.config, [TEST_DAY], 0.0, homes)
    (row,) = week({**task.payload, "homes": homes})
    return row
