"""What a job is asked for, checked as a file would be; and what its process does."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cosim import controllers
from cosim.errors import Fault, InputError, meant, reason, refuse
from cosim.experiments import scenario as scenarios
from cosim.experiments.remedies import load_toml
from cosim.experiments.scenario import Scenario
from cosim.experiments.study import config as studies
from cosim.experiments.study.worlds import Worlds, merged
from cosim.experiments.web.job_records import Ending, Progress
from cosim.experiments.web.job_schemas import HostingRequest, Request, RunRequest, StudyRequest, refuse_unwritable
from cosim.feeders.find import shipped_names
from cosim.folder import claimed, write_whole

_SHARES = {
    "ev_share": ("ev", "share"), "pv_share": ("pv", "share"), "heat_pump_share": ("heat_pump", "share"),
    "battery_share": ("battery", "share"), "noncompliant_share": ("households", "noncompliant_share"),
}  # fmt: skip
REQUESTS: dict[str, type[Request]] = {"run": RunRequest, "study": StudyRequest, "hosting": HostingRequest}
_ROOT = Path(scenarios.__file__).resolve().parents[1]
_NICENESS = 5
_TOLD_EVERY_S = 0.25
_FREE_WITHIN_S = 10.0
"""A process of a server that was killed ends within that time, and leaves its folder."""


Tell = Callable[[Progress], None]


def scenario_of(request: RunRequest, allowed: Sequence[str]) -> tuple[Scenario, Path]:
    """Return the scenario that a run asks for, and its file or what stands for it.

    Parameters
    ----------
    request : RunRequest
        As it came.
    allowed : sequence of str
        Controllers of installed packages that may be named.

    Raises
    ------
    InputError
        With every fault, as of ``cosim check``; and of whatever names a file or code.
    """
    refuse_unwritable(dict(request), "request")
    data, path = _content(request.scenario, "scenario", scenarios.shipped(), scenarios.SHIPPED)
    change: dict[str, Any] = {} if request.seed is None else {"seed": request.seed}
    for key, (table, name) in _SHARES.items():
        if (share := getattr(request, key)) is not None:
            change[table] = {name: share}
    scenario = scenarios.parse(merged(data, change), path, allowed)
    if request.controllers:
        from cosim.experiments.choose import only

        known = [*(run.name for run in scenario.runs), *controllers.REGISTRY, *allowed]
        refuse(_unknown(request.controllers, known, "controllers"))
        scenario = only(scenario, ",".join(request.controllers), "controllers")
    return scenario, path


def worlds_of(request: StudyRequest, allowed: Sequence[str], most: int) -> Worlds:
    """Return the worlds that a study asks for; see `scenario_of`. Refuses more than ``most``."""
    refuse_unwritable(dict(request), "request")
    data, path = _content(request.study, "study", studies.shipped(), studies.SHIPPED)
    worlds = Worlds(studies.parse(data, path, allowed), path, tuple(allowed))
    if len(worlds) > most:
        remedy = "take fewer, run it with cosim study, or raise worlds in the server's configuration"
        raise InputError(Fault(str(path), "", f"has {len(worlds)} worlds; a request may have {most}", remedy))
    worlds.check()
    return worlds


def check_hosting(request: HostingRequest, allowed: Sequence[str], most: int) -> None:
    """Refuse a hosting study that names what there is not, or asks for more than ``most`` placements."""
    refuse_unwritable(dict(request), "request")
    faults = _unknown(request.feeders, shipped_names(), "feeders")
    faults += _unknown(request.controllers, [*controllers.REGISTRY, *allowed], "controllers")
    if (many := len(request.feeders) * len(request.controllers) * request.placements) > most:
        remedy = "take fewer, run it with cosim hosting, or raise worlds in the server's configuration"
        faults.append(Fault("request", "placements", f"asks for {many} searches; a request may have {most}", remedy))
    refuse(faults)


def name_of(request: Request) -> str:
    """Name of what is asked for."""
    if isinstance(request, HostingRequest):
        return f"{request.technology}: {', '.join(request.feeders)}"
    asked = request.scenario if isinstance(request, RunRequest) else getattr(request, "study", "")
    return asked if isinstance(asked, str) else str(asked.get("name", ""))


def _content(asked: str | dict[str, Any], key: str, known: Sequence[str], folder: Path) -> tuple[dict[str, Any], Path]:
    """Keys of a shipped file, and the file; of a table itself, and what stands for its file in messages."""
    if not isinstance(asked, str):
        return asked, Path("request") / key
    refuse(_unknown([asked], known, key))
    path = folder / f"{asked}.toml"
    return load_toml(path), path


def _unknown(names: Iterable[str], known: Sequence[str], key: str) -> list[Fault]:
    problem = "'{}' is no registered name, and a request can name neither files nor code"
    otherwise = f"write one of {', '.join(dict.fromkeys(known))}"
    return [
        Fault("request", key, problem.format(name[:80]), meant(name, known, otherwise))
        for name in names
        if name not in known
    ]


def work(kind: str, content: str, folder: Path, ending: Path, allowed: Sequence[str], to_parent: Any) -> None:
    """Do a job, in a process of its own: results in its folder, and how it ended in a file beside it.

    Parameters
    ----------
    kind : str
        Of the job.
    content : str
        Its request as JSON.
    folder : Path
        Receives the results.
    ending : Path
        Receives status and message: written last, so a server that is killed meanwhile finds it.
    allowed : sequence of str
        As for `scenario_of`.
    to_parent : Connection
        Is sent `Progress`, some times a second at most, and the `Ending`, whether that could be written or not.
    """
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    with suppress(OSError):  # where memory is short, let it be a job that is ended and not the server
        Path("/proc/self/oom_score_adj").write_text("500", "utf-8")
    request = REQUESTS[kind].model_validate_json(content)
    sys.argv = ["cosim", "serve", kind, name_of(request)]  # what manifests tell; the server's own may hold a token
    told_s, told = 0.0, ""

    def tell(now: Progress) -> None:
        nonlocal told_s, told
        if now.message != told or now.done == now.total or time.monotonic() - told_s >= _TOLD_EVERY_S:
            to_parent.send(now)
            told_s, told = time.monotonic(), now.message

    try:
        _wait_until_free(folder)
        end = _DO[kind](request, folder, allowed, tell)
    except KeyboardInterrupt:
        end = Ending("interrupted", "")
    except BaseException as error:  # whatever it is, it is the job's end and not the server's
        end = Ending("failed", reason(error))
    end = end._replace(message=end.message.replace(f"{folder}/", "").replace(f"{_ROOT}/", ""))  # where they lie is ours
    to_parent.send(end)
    told_whole = json.dumps(end._asdict())
    write_whole(ending, lambda temporary: temporary.write_text(told_whole, encoding="utf-8"), durable=True)


def _wait_until_free(folder: Path) -> None:
    until_s = time.monotonic() + _FREE_WITHIN_S
    while True:
        try:
            with claimed(folder, overwrite=True):
                return
        except InputError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.1)


def _run(request: RunRequest, folder: Path, allowed: Sequence[str], tell: Tell) -> Ending:
    scenario, path = scenario_of(request, allowed)
    steps, labels = scenario.minutes // scenario.step_min, [run.name for run in scenario.runs]
    total, made = steps * len(labels), dict[str, float]()

    def progress(label: str, phase: str, done: int, of: int) -> None:
        if phase in ("steps", "weeks"):
            made[label] = steps * done / of
        tell(Progress(round(sum(made.values())), total, f"{label}: {phase}" if label in labels else phase))

    tell(Progress(0, total, "composing"))
    from cosim.experiments.compose import compose  # brings everything, and the above may be refused
    from cosim.experiments.execute import execute

    day = compose(scenario, path)
    results = execute(day, folder, engine=request.engine, progress=progress, figures=request.figures, overwrite=True)
    if results.interrupted:
        raise KeyboardInterrupt
    if results.stopped is not None:
        return Ending("failed", f"{results.stopped}; what was computed is kept and marked")
    tell(Progress(total, total, "done"))
    return Ending("done", f"{len(labels)} runs, {len(day.warnings)} warnings")


def _study(request: StudyRequest, folder: Path, allowed: Sequence[str], tell: Tell) -> Ending:
    worlds = worlds_of(request, allowed, sys.maxsize)
    tell(Progress(0, len(worlds), "looking at every feeder under every controller"))
    from cosim.experiments.study import conduct

    warnings = conduct.check(worlds)
    counts = conduct.conduct(worlds, folder, resume=True, progress=lambda now: tell(_counted("worlds", now)))
    many = counts.before + counts.done
    return Ending("done", f"{many} worlds, {counts.failed} failed, {len(warnings)} warnings")


def _hosting(request: HostingRequest, folder: Path, allowed: Sequence[str], tell: Tell) -> Ending:
    check_hosting(request, allowed, sys.maxsize)
    tell(Progress(0, 0, "reading the feeders"))
    from cosim.experiments.hosting.asked import Asked
    from cosim.experiments.hosting.config import read
    from cosim.experiments.hosting.study import hosting

    config = read(None)
    change: dict[str, Any] = {"method": config.method.model_copy(update={"placements": request.placements})}
    config = config.model_copy(update=change if request.reinforce else {**change, "reinforcement": {}})
    asked = Asked(request.feeders, request.technology, request.controllers, config)
    found = hosting(asked, folder, progress=lambda what, now: tell(_counted(what, now)))
    return Ending("done", f"{len(found.table)} rows, {len(found.warnings)} warnings")


def _counted(what: str, now: Any) -> Progress:
    many, rate_per_h = now.before + now.done, 3600.0 * now.rate_per_s
    left_s = 3600.0 * (now.total - many) / rate_per_h if rate_per_h and now.total is not None else None
    failed = f", {now.failed} failed" if now.failed else ""
    return Progress(many, now.total or 0, f"{what}{failed}", rate_per_h or None, left_s)


_DO: dict[str, Callable[[Any, Path, Sequence[str], Tell], Ending]] = {
    "run": _run, "study": _study, "hosting": _hosting,
}  # fmt: skip
