"""Jobs: as many Pods as it takes until enough have succeeded, or too many have failed.

The order of a look: count; end the Job, or make and take away Pods; enter what ended in the status;
take the finalizers of the entered Pods; count them; and when all is counted, say how it ended.
A kill between any two steps leaves what the next look needs in the status or on the Pods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import conditions, owners, times
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.workloads.jobs import job_plans, job_pods
from jindou.control.controllers.workloads.jobs.job_plans import End, Look
from jindou.control.controllers.workloads.leaving import AT_ONCE
from jindou.control.controllers.workloads.owned_pods import OwnedPods
from jindou.control.controllers.workloads.pods import pod_from
from jindou.objects.errors import CloudError, NotFound
from jindou.objects.kinds import JOB, POD, Kind, Object, Ref, ref_of

MANAGER = "kubernetes.io/job-controller"
ENV = "JOB_COMPLETION_INDEX"
TAKE_OFF = "$deleteFromPrimitiveList/finalizers"


class Jobs:
    kind = JOB
    owns: Sequence[Kind] = (POD,)
    name = "jobs"
    pace = 0.05

    def __init__(self) -> None:
        self._events = Recorder("job-controller")
        self._owned = OwnedPods(JOB, self._events)
        self._let_go: set[str] = set()  # uids of Pods whose finalizer we took, seen with it still
        self._failures: dict[str, dict[str, float]] = {}  # by Job: when its failed Pods ended

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._jobs = informers.of(JOB)
        self._owned.follow(informers, wake)
        self._pods = self._owned.informer
        self._pods.on_change(self._pod_changed)
        self._jobs.on_change(self._job_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        if new is None or not job_pods.tracked(new):
            self._let_go.discard(obj["metadata"]["uid"])
        elif not self._is_wanted(new):
            self._wake(ref_of(POD, new))

    def _job_changed(self, old: Object | None, new: Object | None) -> None:
        """Nobody counts the Pods of a Job that is gone or finished any more."""
        if old is not None and (new is None or job_plans.finished(new)):
            self._failures.pop(old["metadata"]["uid"], None)
            for key in self._pods.names_by("owner", old["metadata"]["uid"]):
                self._wake(Ref(POD, *key))

    def _is_wanted(self, pod: Object) -> bool:
        """Has it a Job that will take its finalizer?"""
        owner = owners.controller_of(pod)
        if owner is None or owner["kind"] != JOB.name:
            return owner is not None
        job = self._jobs.get(pod["metadata"]["namespace"], owner["name"])
        if job is None or job["metadata"]["uid"] != owner["uid"]:
            return False
        return _is_others(job) or not job_plans.finished(job)

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        if ref.kind == POD:
            await self._free(client, ref)
            return None
        job = self._jobs.get(ref.namespace, ref.name)
        if job is None or _is_others(job) or job_plans.finished(job):
            return None
        pods = await self._owned.claimed(client, job, job_pods.FINALIZER)
        if not self._jobs.has(ref.namespace, ref.name):
            return None
        for pod in pods:
            if pod["metadata"]["uid"] in self._let_go:
                _without_finalizer(pod)
        gone = self._failures.setdefault(job["metadata"]["uid"], {})
        gone.update(job_pods.failures_in(job, pods))
        return await Pass(self, client, job_plans.look_at(job, pods, times.now(), gone)).run()

    async def _free(self, client: Client, ref: Ref) -> None:
        pod = self._pods.get(ref.namespace, ref.name)
        if pod is None or not job_pods.tracked(pod) or self._is_wanted(pod):
            return
        owner = owners.controller_of(pod)
        if owner is not None:
            try:
                live = await client.get(Ref(JOB, ref.namespace, owner["name"]))
            except NotFound:
                live = None
            if live and live["metadata"]["uid"] == owner["uid"] and not job_plans.finished(live):
                return
        await self.let_go(client, pod)

    # ------------------------------------------------------------ what a pass does

    async def let_go(self, client: Client, pod: Object) -> None:
        """Take the finalizer off, whatever else has become of the Pod."""
        meta = pod["metadata"]
        changes = {"uid": meta["uid"], TAKE_OFF: [job_pods.FINALIZER]}
        self._let_go.add(meta["uid"])
        try:
            written = await client.patch(ref_of(POD, pod), {"metadata": changes}, how="strategic")
        except NotFound:
            _without_finalizer(pod)
            if not self._pods.has(meta["namespace"], meta["name"]):
                self._let_go.discard(meta["uid"])  # nobody will tell of it any more
            return
        except CloudError:
            self._let_go.discard(meta["uid"])
            raise
        _without_finalizer(pod)
        await self._pods.caught_up(written["metadata"].get("resourceVersion", ""))

    async def take(
        self, client: Client, job: Object, pods: Sequence[Object]
    ) -> tuple[int, CloudError | None]:
        """Delete Pods that will not count: their finalizer goes first."""
        for pod in pods:
            if job_pods.tracked(pod):
                await self.let_go(client, pod)
        return await self._owned.delete(client, job, pods)

    async def end(
        self, client: Client, job: Object, pods: Sequence[Object]
    ) -> tuple[int, CloudError | None]:
        """Delete Pods that have to be counted still."""
        return await self._owned.delete(client, job, pods)

    async def make(
        self, client: Client, look: Look, places: Sequence[int]
    ) -> tuple[int, CloudError | None]:
        pods = [pod_of(look, index) for index in places]
        return await self._owned.create(client, look.job, pods)

    async def write(self, client: Client, job: Object, status: Object) -> Object:
        """The Job as it is after its status was written, if anything has changed."""
        status = job_plans.tidy(status)
        if status == (job.get("status") or {}):
            return job
        written = await client.update(JOB, {**job, "status": status}, "status")
        await self._jobs.caught_up(written["metadata"].get("resourceVersion", ""))
        return written

    def tell(
        self, client: Client, job: Object, reason: str, text: str, type: str = "Normal"
    ) -> None:
        self._events.event(client, job, reason, text, type)


class Pass:
    """One look at one Job: what it counted, and its steps."""

    def __init__(self, controller: Jobs, client: Client, look: Look) -> None:
        self.controller = controller
        self.client = client
        self.look = look
        self.stored = look.job
        self.status = dict(look.job.get("status") or {})
        self.wait: float | None = None
        self.failure: CloudError | None = None

    async def run(self) -> float | None:
        look, job = self.look, self.look.job
        if "startTime" not in self.status and not job_pods.suspended(job):
            self.status["startTime"] = times.text(look.now)
            look.job = job = {**job, "status": dict(self.status)}
        end = job_plans.plan_end(look)
        if end is not None:
            end = await self.end(end)
        else:
            end = await self.carry_on()
        self.status |= {
            "active": look.active,
            "ready": look.ready,
            "terminating": look.terminating,
        }
        await self.track(end)
        if self.failure is not None:
            raise self.failure
        waits = [self.wait, job_plans.time_left(look)]
        return min((wait for wait in waits if wait is not None), default=None)

    async def end(self, end: End) -> End | None:
        """None where Pods could not be deleted: then it has not ended yet."""
        running = self.look.running()
        gone, self.failure = await self.controller.end(self.client, self.look.job, running)
        self._took(running, gone)
        return end if gone == len(running) else None

    async def carry_on(self) -> End | None:
        look, events = self.look, ""
        if not look.job["metadata"].get("deletionTimestamp"):
            await self.change_pods()
        if job_plans.is_complete(look):
            return job_plans.REACHED
        if not look.job["metadata"].get("deletionTimestamp"):
            self.status, events = job_plans.plan_suspension(look, self.status)
        if events:
            self.controller.tell(self.client, look.job, events, f"Job {events.lower()}")
        return None

    async def change_pods(self) -> None:
        look, changes = self.look, job_plans.plan_pods(self.look)
        if changes.delete:
            gone, self.failure = await self.controller.take(self.client, look.job, changes.delete)
            self._took(changes.delete, gone)
        elif changes.create:
            made, self.failure = await self.controller.make(self.client, look, changes.create)
            look.active += made
        self.wait = changes.wait

    def _took(self, pods: Sequence[Object], gone: int) -> None:
        self.look.active -= gone
        self.look.terminating += gone
        ready = sum(conditions.is_true(pod, "Ready") for pod in pods)
        self.look.ready = min(self.look.ready - ready, self.look.active)

    async def track(self, end: End | None) -> None:
        look, controller = self.look, self.controller
        tracking = job_plans.plan_tracking(look, self.status, end)
        job = await controller.write(self.client, self.stored, tracking.status)
        gate = asyncio.Semaphore(AT_ONCE)

        async def let_go(pod: Object) -> None:
            async with gate:
                await controller.let_go(self.client, pod)

        results = await asyncio.gather(
            *(let_go(pod) for pod in tracking.settled), return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        standing = {pod["metadata"]["uid"] for pod in look.pods if job_pods.tracked(pod)}
        uncounted = job_plans.uncounted_in(tracking.status)
        status = job_plans.count(tracking.status, uncounted, standing)
        if not failures:
            status = job_plans.plan_finish(status, tracking, look.terminating, look.now)
        job = await controller.write(self.client, job, status)
        if type := job_plans.finished(job):
            assert tracking.end is not None
            self.tell_end(job, tracking.end, type)
        if failures:
            raise failures[0]

    def tell_end(self, job: Object, end: End, type: str) -> None:
        if type == job_plans.FAILED:
            self.controller.tell(self.client, job, end.reason, end.message, "Warning")
            return
        if job["spec"].get("completions") is not None and (
            job["status"].get("succeeded", 0) > job["spec"]["completions"]
        ):
            text = "Too many succeeded pods running after completion count reached"
            self.controller.tell(self.client, job, "TooManySucceededPods", text, "Warning")
        self.controller.tell(self.client, job, "Completed", "Job completed")


def _is_others(job: Object) -> bool:
    """Is it told to be managed by somebody else?"""
    return bool(job["spec"].get("managedBy", MANAGER) != MANAGER)


def _without_finalizer(pod: Object) -> None:
    meta = pod["metadata"]
    meta["finalizers"] = [
        name for name in meta.get("finalizers") or () if name != job_pods.FINALIZER
    ]


def pod_of(look: Look, index: int) -> Object:
    """The next Pod of a Job, for an index of it, or for none (-1)."""
    job = look.job
    pod = pod_from(job, owners.reference_to(JOB, job))
    meta = pod["metadata"]
    meta["finalizers"] = [*(meta.get("finalizers") or ()), job_pods.FINALIZER]
    if index < 0:
        return pod
    number, name = str(index), job["metadata"]["name"]
    ending = f"-{number}-"
    meta["generateName"] = f"{name[: 58 - len(ending)]}{ending}"
    annotations = {**(meta.get("annotations") or {}), job_pods.INDEX: number}
    if job_pods.per_index(job):
        annotations |= job_pods.failure_annotations(job, look.last_failed.get(index))
    meta["annotations"] = annotations
    meta["labels"] = {**(meta.get("labels") or {}), job_pods.INDEX: number}
    pod["spec"] = {**pod["spec"], "hostname": f"{name}-{number}"}
    for part in ("initContainers", "containers"):
        if part in pod["spec"]:
            pod["spec"][part] = [_with_index(one) for one in pod["spec"][part]]
    return pod


def _with_index(container: Object) -> Object:
    env = container.get("env") or []
    if any(one["name"] == ENV for one in env):
        return container
    field = {"fieldPath": f"metadata.labels['{job_pods.INDEX}']"}
    return {**container, "env": [*env, {"name": ENV, "valueFrom": {"fieldRef": field}}]}
