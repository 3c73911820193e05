"""CronJobs: a Job at each time of a schedule. Asleep until the next time; nothing is asked in between
but the clock, which may have been set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import owners, times
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.groundwork.references import object_reference
from jindou.control.controllers.workloads.jobs import cron_plans
from jindou.control.controllers.workloads.jobs.cron_plans import Decision
from jindou.objects import schedules
from jindou.objects.errors import AlreadyExists, CloudError, NotFound
from jindou.objects.kinds import CRON_JOB, JOB, Kind, Object, Ref, ref_of
from jindou.objects.schedules import Schedule, Unclear

LOOK = 60.0  # seconds between looks at the clock while there are schedules


class CronJobs:
    """`now` is the clock, in Unix seconds."""

    kind = CRON_JOB
    owns: Sequence[Kind] = (JOB,)
    name = "cron-jobs"

    def __init__(self, now: Callable[[], float] = times.now) -> None:
        self._events = Recorder("cronjob-controller")
        self._now = now

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._held = informers.of(CRON_JOB)
        self._jobs = informers.of(JOB)
        owners.index(self._jobs)

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        owner = self._held.get(ref.namespace, ref.name)
        if owner is None:
            return None
        jobs = self._jobs.by("owner", owner["metadata"]["uid"])
        for job in cron_plans.plan_surplus(owner, jobs):
            await self._delete(client, owner, job)
        status, events, gone = cron_plans.plan_known(owner, jobs)
        for one in gone:
            if await self._is_gone(client, one):
                status["active"] = [kept for kept in status["active"] if kept is not one]
                text = f"Active job went missing: {one['name']}"
                events.append(("MissingJob", text, "Normal"))
        for reason, text, type in events:
            self._events.event(client, owner, reason, text, type)
        try:
            wait = await self._start(client, owner, status)
        finally:
            await self._write(client, owner, status)
        return wait if wait is None else min(max(wait, 0.0), LOOK)

    async def _write(self, client: Client, owner: Object, status: Object) -> None:
        status = {name: value for name, value in status.items() if value}
        if status != (owner.get("status") or {}):
            written = await client.update(CRON_JOB, {**owner, "status": status}, "status")
            await self._held.caught_up(written["metadata"].get("resourceVersion", ""))

    async def _is_gone(self, client: Client, reference: Object) -> bool:
        return await self._named(client, reference) is None

    async def _named(self, client: Client, reference: Object) -> Object | None:
        """The Job itself, not another one that has its name now."""
        try:
            job = await client.get(Ref(JOB, reference["namespace"], reference["name"]))
        except NotFound:
            return None
        return job if job["metadata"]["uid"] == reference["uid"] else None

    # ------------------------------------------------------------ starting

    async def _start(self, client: Client, owner: Object, status: Object) -> float | None:
        """Seconds until the next look; `status` in place."""
        if owner["metadata"].get("deletionTimestamp") or owner["spec"].get("suspend"):
            return None
        schedule = self._schedule(client, owner)
        if schedule is None:
            return None
        decision = cron_plans.plan_start(owner, schedule, status, self._now())
        for reason, text, type in decision.events:
            self._events.event(client, owner, reason, text, type)
        if decision.start is not None:
            await self._run(client, owner, schedule, decision, status)
            return cron_plans.time_to_next(owner, schedule, status, self._now())
        return decision.wait

    def _schedule(self, client: Client, owner: Object) -> Schedule | None:
        spec, zone = owner["spec"], owner["spec"].get("timeZone")
        reason, text = "UnparseableSchedule", f'unparseable schedule: "{spec["schedule"]}" : '
        try:
            if zone is not None:
                reason, text = "UnknownTimeZone", f'invalid timeZone: "{zone}": '
                schedules.zone_of(zone)
                reason, text = (
                    "UnparseableSchedule",
                    f'unparseable schedule: "{spec["schedule"]}" : ',
                )
            return cron_plans.schedule_of(owner)
        except Unclear as error:
            self._events.event(client, owner, reason, f"{text}{error}", "Warning")
            return None

    async def _run(
        self,
        client: Client,
        owner: Object,
        schedule: Schedule,
        decision: Decision,
        status: Object,
    ) -> None:
        assert decision.start is not None
        for one in decision.replace:
            await self._replace(client, owner, one, status)
        job = cron_plans.job_of(owner, schedule, decision.start)
        try:
            made = await client.create(JOB, job)
            text = f"Created job {made['metadata']['name']}"
            self._events.event(client, owner, "SuccessfulCreate", text)
        except AlreadyExists:
            made = await client.get(ref_of(JOB, job))
            if owners.controller_uid(made) != owner["metadata"]["uid"]:
                return
        except CloudError as error:
            text = f"Error creating job: {error}"
            self._events.event(client, owner, "FailedCreate", text, "Warning")
            raise
        if all(one["uid"] != made["metadata"]["uid"] for one in status["active"]):
            status["active"] = [*status["active"], object_reference(JOB, made)]
        status["lastScheduleTime"] = times.text(decision.start)
        await self._jobs.caught_up(made["metadata"].get("resourceVersion", ""))

    async def _replace(
        self, client: Client, owner: Object, reference: Object, status: Object
    ) -> None:
        job = await self._named(client, reference)
        if job is not None:
            await self._delete(client, owner, job)
        status["active"] = [one for one in status["active"] if one["uid"] != reference["uid"]]

    async def _delete(self, client: Client, owner: Object, job: Object) -> None:
        meta = job["metadata"]
        try:
            await client.delete(ref_of(JOB, job), uid=meta["uid"], propagation="Background")
        except NotFound:
            return
        except CloudError as error:
            text = f"Deleted job: {error}"
            self._events.event(client, owner, "FailedDelete", text, "Warning")
            raise
        self._events.event(client, owner, "SuccessfulDelete", f"Deleted job {meta['name']}")
