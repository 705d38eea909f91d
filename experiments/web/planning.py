"""Sessions and plans that the server keeps: planned, and planned again, by `PlanStudy` itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from threading import BoundedSemaphore
from typing import Any

from cosim.errors import Fault, InputError, reason
from cosim.experiments.charging_profiles import plan_schedules, set_charging_profile
from cosim.experiments.plan.config import PlanConfig
from cosim.experiments.plan.options import OcppUnit, OcppVersion
from cosim.experiments.plan.replan import rest_of
from cosim.experiments.web.catalogue import Catalogue, NotFoundError, PlanRow, new_id, now
from cosim.experiments.web.live import demand_after, live_state
from cosim.experiments.web.orders import config_of
from cosim.experiments.web.records import PlanRecord
from cosim.experiments.web.schemas import LiveStateRequest, PlanRequest
from cosim.experiments.web.session_store import SessionStore, sweep
from cosim.experiments.web.settings import Settings
from cosim.experiments.web.stored import STANDING, Kept, KeptPlan, KeptReplan, read_standing
from cosim.experiments.web.words import told_as
from cosim.folder import write_whole


class Planning(SessionStore):
    """Sessions and plans of one server; every method may be called from any thread.

    Parameters
    ----------
    settings : Settings
        Folder and limits.
    catalogue : Catalogue
        Where their rows are.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        super().__init__(settings, catalogue)
        self._plans_folder = settings.data / "plans"
        self._at_once = BoundedSemaphore(settings.jobs_at_once)
        rows = catalogue.all(PlanRow)
        for row in rows:
            if row.status == "planning":
                catalogue.change(PlanRow, row.id, status="interrupted")
        sweep(self._plans_folder, {row.id for row in rows})

    def plan(self, sessions_id: str, request: PlanRequest) -> PlanRecord:
        """Plan sessions, within the server's time limit; as many wait as are more than it plans at once.

        Raises
        ------
        InputError
            With everything wrong with sessions and request.
        SolverError
            Where there is no plan that can be trusted.
        """
        self.sessions(sessions_id)
        row = PlanRow(
            id=new_id(), sessions_id=sessions_id, parent=None, created=now(), request=request.model_dump_json(),
            state=None, status="planning", problem="[]",
        )  # fmt: skip
        return self._begun(row)

    def replan(self, plan_id: str, state: LiveStateRequest) -> PlanRecord:
        """Plan the rest of a plan anew, from what has happened; as `plan`.

        Raises
        ------
        InputError
            With everything in the state that cannot be, or where nobody is left to be planned.
        SolverError
            Where there is no plan that can be trusted.
        """
        before = self._row(plan_id)
        if before.status != "done":
            raise InputError(Fault(f"plan {plan_id}", "status", f"is {before.status}", "re-plan one that is done"))
        row = replace(
            before, id=new_id(), parent=plan_id, created=now(), state=state.model_dump_json(), status="planning"
        )
        return self._begun(row)

    def kept(self, plan_id: str) -> Kept:
        """Return how a plan stands."""
        found = self.get_plan(plan_id)
        if found.status != "done":
            raise NotFoundError(f"plan '{plan_id}' is {found.status}: there is nothing of it yet")
        return read_standing(found.folder / STANDING)

    def restart(self, plan_id: str) -> PlanRecord:
        """Plan again what was interrupted or failed, under the same name."""
        with self._lock:
            row = self._row(plan_id)
            if row.status in ("done", "planning"):
                problem = "is done" if row.status == "done" else "is being planned"
                raise InputError(Fault(f"plan {plan_id}", "status", problem, "ask for a new plan"))
            self._catalogue.change(PlanRow, plan_id, status="planning", problem="[]")
        return self._conduct(row)

    def forget_plan(self, plan_id: str) -> None:
        """Take a plan away; InputError while it is being made."""
        with self._lock:
            if self._row(plan_id).status == "planning":
                raise InputError(Fault(f"plan {plan_id}", "status", "is being planned", "wait until it is done"))
            self._catalogue.remove(PlanRow, plan_id)
        shutil.rmtree(self._plans_folder / plan_id, ignore_errors=True)

    def plans(self) -> list[PlanRecord]:
        """All plans, the newest first."""
        return [self._record(row) for row in self._catalogue.all(PlanRow)]

    def plan_rows(self) -> list[PlanRow]:
        """Rows of all plans, the newest first."""
        return self._catalogue.all(PlanRow)

    def ocpp(self, plan_id: str, version: OcppVersion, unit: OcppUnit) -> dict[str, Any]:
        """Messages for chargers, as ``cosim plan --ocpp`` writes them, of what is planned from now on.

        Raises
        ------
        InputError
            Where nothing says of which zone the sessions are.
        """
        schedules = plan_schedules(*self.kept(plan_id).rest())
        return {"ocpp": version, "messages": set_charging_profile(schedules, version, unit)}

    def get_plan(self, plan_id: str) -> PlanRecord:
        """Plan of a name; NotFoundError where there is none."""
        return self._record(self._row(plan_id))

    def _begun(self, row: PlanRow) -> PlanRecord:
        """Plan what is new; of what was wrong with the request its sender is told, and nothing is kept."""
        self._catalogue.add(row)
        try:
            return self._conduct(row)
        except InputError:
            self._catalogue.remove(PlanRow, row.id)
            shutil.rmtree(self._plans_folder / row.id, ignore_errors=True)
            raise

    def _conduct(self, row: PlanRow) -> PlanRecord:
        folder, found = self._plans_folder / row.id, self.sessions(row.sessions_id)
        request = PlanRequest.model_validate_json(row.request)
        names = {str(found.path): found.name, f"{folder}/": ""}
        try:
            with self._at_once, told_as(names):
                if found.faults:
                    raise InputError(found.faults)
                config = config_of(request, found.reading, found.path, folder / "inputs", self._settings)
                if row.parent is None:
                    study = KeptPlan(self._demand(found, request), names)
                else:
                    study, config = self._replanned(row, config, names)
                result = study.conduct(config, folder / "results", overwrite=True)
        except BaseException as error:
            faults = (
                error.faults if isinstance(error, InputError) else (Fault("plan", "", reason(error), "plan again"),)
            )
            told = json.dumps([asdict(fault) for fault in faults])
            self._catalogue.change(PlanRow, row.id, status="failed", problem=told)
            raise
        write_whole(folder / "warnings.json", lambda path: path.write_text(json.dumps(list(result.warnings)), "utf-8"))
        self._catalogue.change(PlanRow, row.id, status="done")
        return self.get_plan(row.id)

    def _replanned(self, row: PlanRow, config: PlanConfig, names: dict[str, str]) -> tuple[KeptPlan, PlanConfig]:
        """Study of the rest of a plan; of the config, what was known before the past was known."""
        state, before = LiveStateRequest.model_validate_json(row.state or "{}"), self.kept(str(row.parent))
        rest = rest_of(before.standing, live_state(state, before))
        if not rest.kept:
            raise InputError(Fault("state", "vehicles", "nobody is left to be planned", "give who is there, or is new"))
        study = KeptReplan(before, rest, demand_after(state, before, rest), names)
        return study, replace(config, rounding="prorata", peak_so_far_kw=rest.peak_so_far_kw)

    def _row(self, plan_id: str) -> PlanRow:
        row = self._catalogue.get(PlanRow, plan_id)
        if row is None:
            raise NotFoundError(f"no plan '{plan_id}'")
        return row

    def _record(self, row: PlanRow) -> PlanRecord:
        folder = self._plans_folder / row.id
        done = row.status == "done"
        metrics = json.loads((folder / "results" / "metrics.json").read_text("utf-8"))["cases"]["plan"] if done else {}
        warnings = json.loads((folder / "warnings.json").read_text("utf-8")) if done else []
        return PlanRecord(
            id=row.id, sessions_id=row.sessions_id, parent=row.parent, created=row.created,
            request=PlanRequest.model_validate_json(row.request), status=row.status, metrics=metrics,
            warnings=tuple(warnings), faults=tuple(Fault(**fault) for fault in json.loads(row.problem)),
            folder=folder / "results",
        )  # fmt: skip
