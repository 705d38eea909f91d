"""What is asked of a hosting study, on feeders that can be asked it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from cosim import controllers
from cosim.contract import Feeder
from cosim.errors import Fault, InputError, RunStoppedError, collecting, refuse
from cosim.experiments.hosting.config import HostingConfig, Technology
from cosim.experiments.hosting.measures import figures
from cosim.experiments.hosting.worlds import AS_BUILT, IMPORT, CriticalDay, Network, collapsed, site, world
from cosim.feeders.find import names as shipped_feeders

UNCONTROLLED = "none"
OPTIMUM = "optimum"
TEST_DAY = CriticalDay(IMPORT, "2026-01-15")


class Asked(NamedTuple):
    """What is asked of a study.

    Attributes
    ----------
    feeders : sequence of str
        Names or paths.
    technology : str
        ``ev``, ``pv`` or ``heat_pump``.
    controllers : sequence of str
        Each for the network as built; reinforcements are for homes without control.
    config : HostingConfig
        All else.
    """

    feeders: Sequence[str]
    technology: Technology
    controllers: Sequence[str]
    config: HostingConfig


def built(asked: Asked, warnings: list[str]) -> dict[str, tuple[Network, Feeder]]:
    """Read the feeders as they are, refuse what cannot be asked of them, and tell what is left out on them.

    Raises
    ------
    InputError
        With every feeder that cannot be read, every controller that is not there, and every measure of a criterion that
        a feeder does not have.
    """
    faults, config = list(_not_asked(asked, warnings)), asked.config
    for name in asked.controllers:
        with collecting(faults):
            controllers.refuse_unknown(name)
            faults += controllers.option_faults(name, config.options.get(name, {}))
    found = {}
    for name in dict.fromkeys(asked.feeders):
        with collecting(faults):
            network = Network(AS_BUILT, name, name, config.base_of(name)).as_it_lies()
            found[name] = network, site(network)
            faults += _undefined(asked, network, warnings)
    refuse(faults)
    return found


def _not_asked(asked: Asked, warnings: list[str]) -> Iterator[Fault]:
    """What of the file nothing is asked of: a misspelt name is refused, what others are asked of is told."""
    if not asked.controllers:
        yield Fault("cosim hosting", "--controllers", "names none", "write some, such as none,even")
    also = [UNCONTROLLED, *([OPTIMUM] if asked.config.method.optimum else [])]
    for name in asked.config.options:
        if name in asked.controllers or name in also:
            continue
        try:
            controllers.refuse_unknown(name)
        except InputError as error:
            yield from (replace(fault, where="hosting", key=f"options.{name}") for fault in error.faults)
        else:
            warnings.append(f"left out: [options.{name}], as it is not among --controllers")
    used = {asked.config.key_of(name) for name in asked.feeders}
    warnings += [
        f"left out: [feeder.{name}], as no feeder that is asked is called that"
        for name in asked.config.feeder
        if name not in used and name not in shipped_feeders()
    ]


def _undefined(asked: Asked, network: Network, warnings: list[str]) -> Iterator[Fault]:
    """Criteria whose measures a feeder does not have: found on a day of one home with the technology."""
    try:
        run = world(network, asked.technology, 1, 1, TEST_DAY, grid={"on_collapse": "shed"}).run(UNCONTROLLED, {})
    except RunStoppedError as stopped:
        if not collapsed(stopped):
            raise
        remedy = "mend its circuit, or demand and source_pu of [base]"
        yield Fault(network.feeder, "", f"has no power flow with a single home that has it: {stopped}", remedy)
        return
    board = {**figures(run), "pv_curtailed_year_percent": 0.0}
    for name, one in asked.config.criteria.items():
        if math.isnan(board.get(one.metric, math.nan)):
            if one.undefined == "refuse":
                yield Fault(network.feeder, f"criterion {name}", f"'{one.metric}' is not defined there", one.remedy)
            else:
                warnings.append(f"left out on {network.feeder}: {name}: '{one.metric}' is not defined there")
