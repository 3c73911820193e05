"""Jobs that nobody wants to see any more: deleted, with their Pods, when their time after the end is over."""

from __future__ import annotations

from collections.abc import Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import times
from jindou.control.controllers.workloads.jobs.job_plans import finished
from jindou.objects.errors import NotFound
from jindou.objects.kinds import JOB, Kind, Object, Ref

LOOK = 3600.0  # seconds; the clock may step meanwhile


def time_left(job: Object, now: float) -> float | None:
    """Seconds until it may go; None where it stays."""
    life, type = job["spec"].get("ttlSecondsAfterFinished"), finished(job)
    if life is None or not type or job["metadata"].get("deletionTimestamp"):
        return None
    condition = next(one for one in job["status"]["conditions"] if one["type"] == type)
    return times.parse(condition.get("lastTransitionTime")) + float(life) - now


class FinishedJobs:
    kind = JOB
    owns: Sequence[Kind] = ()
    name = "finished-jobs"

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._jobs = informers.of(JOB)

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        job = self._jobs.get(ref.namespace, ref.name)
        left = time_left(job, times.now()) if job is not None else None
        if left is None or left > 0:
            return None if left is None else min(left, LOOK)
        try:
            live = await client.get(ref)  # its life may have been made longer
            left = time_left(live, times.now())
            if left is not None and left > 0:
                return min(left, LOOK)
            if left is not None:
                await client.delete(ref, uid=live["metadata"]["uid"], propagation="Foreground")
        except NotFound:
            pass
        return None
