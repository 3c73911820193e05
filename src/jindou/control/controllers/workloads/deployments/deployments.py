"""Deployments: one replica set per template, moved from the old ones to the new one.

The order of a look: adopt replica sets; if paused or resized, scale what is there; else make sure
of the new replica set and take one step of the strategy; then tell the status.
"""

from __future__ import annotations

from collections.abc import Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import owners, times
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.workloads.deployments import rollout
from jindou.control.controllers.workloads.deployments.rollout import Resize
from jindou.control.controllers.workloads.deployments.rollout_status import (
    plan_paused,
    plan_progress,
    plan_status,
    with_progress,
)
from jindou.control.controllers.workloads.hashing import template_hash
from jindou.objects.errors import AlreadyExists, CloudError, NotFound
from jindou.objects.kinds import DEPLOYMENT, POD, REPLICA_SET, Kind, Object, Ref, ref_of


class Deployments:
    kind = DEPLOYMENT
    owns: Sequence[Kind] = (REPLICA_SET,)
    name = "deployments"
    pace = 0.03

    def __init__(self) -> None:
        self._events = Recorder("deployment-controller")

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._deployments = informers.of(DEPLOYMENT)
        self._sets = informers.of(REPLICA_SET)
        self._pods = informers.of(POD)
        owners.index(self._sets)
        owners.index(self._pods)
        self._sets.on_change(self._set_changed)
        self._pods.on_change(self._pod_changed)

    def _set_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or owners.controller_of(new):
            return
        labels = new["metadata"].get("labels") or {}
        for deployment in self._deployments.all(new["metadata"]["namespace"]):
            if owners.selector_of(deployment).matches(labels):
                self._wake(ref_of(DEPLOYMENT, deployment))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """Recreate waits for the last old Pod to be gone."""
        if new is not None or old is None:
            return
        owner = owners.controller_of(old)
        if owner is None or owner["kind"] != REPLICA_SET.name:
            return
        held = self._sets.get(old["metadata"]["namespace"], owner["name"])
        above = owners.controller_of(held) if held else None
        if held and above and above["kind"] == DEPLOYMENT.name:
            self._wake(Ref(DEPLOYMENT, held["metadata"]["namespace"], above["name"]))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        deployment = self._deployments.get(ref.namespace, ref.name)
        if deployment is None:
            return None
        if not owners.selector_of(deployment):
            text = "This deployment is selecting all pods. A non-empty selector is required."
            self._events.event(client, deployment, "SelectingAll", text, "Warning")
            return None
        return await Look(self, client, deployment).run()

    async def claimed(self, client: Client, deployment: Object) -> list[Object]:
        return await owners.claim(client, self._sets, DEPLOYMENT, deployment)

    def has_running_pods(self, sets: Sequence[Object]) -> bool:
        return any(
            (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
            for one in sets
            for pod in self._pods.by("owner", one["metadata"]["uid"])
        )

    async def seen(self, obj: Object) -> None:
        """Wait until our own write is in the informer, so that the next look knows of it."""
        informer = self._sets if obj.get("kind") == REPLICA_SET.name else self._deployments
        await informer.caught_up(obj["metadata"].get("resourceVersion", ""))

    def tell(self, client: Client, obj: Object, reason: str, text: str) -> None:
        self._events.event(client, obj, reason, text)


class Look:
    """One look at one deployment: what it knows, and its steps."""

    def __init__(self, controller: Deployments, client: Client, deployment: Object) -> None:
        self.controller = controller
        self.client = client
        self.deployment = deployment
        self.before = dict(deployment.get("status") or {})
        self.progress: tuple[str, str, str] | None = None  # status, reason, message to be told
        self.collisions = self.before.get("collisionCount")
        self.new: Object | None = None
        self.old: list[Object] = []

    @property
    def sets(self) -> list[Object]:
        return [*self.old, *([self.new] if self.new is not None else [])]

    async def run(self) -> float | None:
        sets = await self.controller.claimed(self.client, self.deployment)
        self.new = rollout.find_new(self.deployment, sets)
        self.old = [one for one in sets if one is not self.new]
        if self.deployment["metadata"].get("deletionTimestamp"):
            return await self.tell_status(progress=False)
        self.progress = plan_paused(self.deployment)
        if self.deployment["spec"].get("paused") or rollout.needs_scaling(self.deployment, sets):
            await self.sync_revision()
            await self.resize(rollout.plan_scale(self.deployment, self.new, self.old))
            if self.deployment["spec"].get("paused"):
                await self.clean_up()
            return await self.tell_status(progress=False)
        await (self.roll() if rollout.is_rolling(self.deployment) else self.recreate())
        return await self.tell_status()

    async def roll(self) -> None:
        new = await self.make_sure_of_new()
        if await self.resize(rollout.plan_new(self.deployment, new, self.sets)):
            return
        if not await self.resize(rollout.plan_old(self.deployment, new, self.old)):
            await self.clean_up()

    async def recreate(self) -> None:
        if await self.resize([Resize(one, 0) for one in self.old if rollout.size(one)]):
            return
        if self.controller.has_running_pods(self.old):
            return
        new = await self.make_sure_of_new()
        if not await self.resize(rollout.plan_new(self.deployment, new, self.sets)):
            await self.clean_up()

    async def make_sure_of_new(self) -> Object:
        if self.new is None:
            self.new = await self.create_new()
        else:
            await self.sync_revision()
            if not _has_progress(self.deployment) and rollout.deadline(self.deployment):
                name = self.new["metadata"]["name"]
                self.progress = ("True", "FoundNewReplicaSet", f'Found new replica set "{name}"')
        await self.annotate_revision()
        assert self.new is not None
        return self.new

    async def sync_revision(self) -> None:
        if self.new is None:
            return
        number = rollout.next_revision(self.old)
        held = rollout.annotations_for(self.deployment, self.new, number)
        min_ready = self.deployment["spec"].get("minReadySeconds") or 0
        if held != (self.new["metadata"].get("annotations") or {}) or min_ready != (
            self.new["spec"].get("minReadySeconds") or 0
        ):
            self.new["metadata"]["annotations"] = held
            self.new["spec"]["minReadySeconds"] = min_ready
            self.new = await self.client.update(REPLICA_SET, self.new)
            await self.controller.seen(self.new)

    async def annotate_revision(self) -> None:
        assert self.new is not None
        number = str(rollout.revision(self.new))
        meta = self.deployment["metadata"]
        if (meta.get("annotations") or {}).get(rollout.REVISION) == number:
            return
        meta.setdefault("annotations", {})[rollout.REVISION] = number
        self.deployment = await self.client.update(DEPLOYMENT, self.deployment, "status")
        await self.controller.seen(self.deployment)

    async def create_new(self) -> Object:
        hashed = template_hash(self.deployment["spec"]["template"], self.collisions)
        obj = _replica_set(self.deployment, hashed)
        number = rollout.next_revision(self.old)
        obj["metadata"]["annotations"] = rollout.annotations_for(
            self.deployment, obj, number
        ) | rollout.size_annotations(self.deployment)
        size = obj["spec"]["replicas"] = rollout.size_of_new(self.deployment, None, self.old)
        name = obj["metadata"]["name"]
        try:
            made = await self.client.create(REPLICA_SET, obj)
        except AlreadyExists:
            return await self.collided(obj)
        except CloudError as error:
            self.progress = ("False", "ReplicaSetCreateError", str(error))
            await self.tell_status(progress=False)
            raise
        await self.controller.seen(made)
        if size:
            text = f"Scaled up replica set {name} from 0 to {size}"
            self.controller.tell(self.client, self.deployment, "ScalingReplicaSet", text)
        if rollout.deadline(self.deployment):
            self.progress = (
                "True",
                "NewReplicaSetCreated",
                f'Created new replica set "{name}"',
            )
        return made

    async def collided(self, obj: Object) -> Object:
        """Either ours, seen late, or another template of the same hash: then try another hash."""
        live = await self.client.get(ref_of(REPLICA_SET, obj))
        ours = owners.controller_uid(live) == self.deployment["metadata"]["uid"]
        template = self.deployment["spec"]["template"]
        if ours and rollout.same_template(live["spec"]["template"], template):
            return live
        self.collisions = (self.collisions or 0) + 1
        return await self.create_new()

    async def resize(self, plan: Sequence[Resize]) -> bool:
        """True where the size of any has changed; stale size annotations are put right besides."""
        scaled = False
        for one, target in plan:
            held = rollout.size(one)
            notes = rollout.size_annotations(self.deployment)
            annotations = one["metadata"].get("annotations") or {}
            if held == target and all(annotations.get(k) == v for k, v in notes.items()):
                continue
            one["metadata"]["annotations"] = annotations | notes
            one["spec"]["replicas"] = target
            written = await self.client.update(REPLICA_SET, one)
            one.clear()
            one.update(written)
            await self.controller.seen(written)
            if held != target:
                scaled = True
                way = "up" if target > held else "down"
                name = one["metadata"]["name"]
                text = f"Scaled {way} replica set {name} from {held} to {target}"
                self.controller.tell(self.client, self.deployment, "ScalingReplicaSet", text)
        return scaled

    async def clean_up(self) -> None:
        status = rollout.plan_counts(self.deployment, self.new, self.sets)
        if not rollout.is_complete(self.deployment, status):
            return
        for one in rollout.plan_history(self.deployment, self.old):
            try:
                await self.client.delete(
                    ref_of(REPLICA_SET, one),
                    uid=one["metadata"]["uid"],
                    propagation="Background",
                )
            except NotFound:
                pass
            self.old.remove(one)

    async def tell_status(self, progress: bool = True) -> float | None:
        if self.progress is not None:
            self.deployment = with_progress(self.deployment, *self.progress)
        status = plan_status(self.deployment, self.new, self.sets, self.collisions)
        if progress:
            status = plan_progress(self.deployment, status, self.new, self.sets, times.now())
        status = {name: value for name, value in status.items() if value}
        before = {name: value for name, value in self.before.items() if value}
        if status != before:
            self.deployment["status"] = status
            written = await self.client.update(DEPLOYMENT, self.deployment, "status")
            await self.controller.seen(written)
        conditions = status.get("conditions") or []
        current = next((c for c in conditions if c["type"] == "Progressing"), None)
        left = rollout.time_left(self.deployment, current, times.now())
        return None if left is None or not progress else max(left, 0.0) + 1.0


def _has_progress(deployment: Object) -> bool:
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    return any(condition["type"] == "Progressing" for condition in conditions)


def _replica_set(deployment: Object, hashed: str) -> Object:
    spec, meta = deployment["spec"], deployment["metadata"]
    template = spec["template"]
    labels = {**((template.get("metadata") or {}).get("labels") or {}), rollout.HASH: hashed}
    selector = spec["selector"]
    return {
        "apiVersion": REPLICA_SET.api_version,
        "kind": REPLICA_SET.name,
        "metadata": {
            "name": f"{meta['name']}-{hashed}",
            "namespace": meta["namespace"],
            "labels": labels,
            "ownerReferences": [owners.reference_to(DEPLOYMENT, deployment)],
        },
        "spec": {
            "minReadySeconds": spec.get("minReadySeconds") or 0,
            "selector": {
                **selector,
                "matchLabels": {**(selector.get("matchLabels") or {}), rollout.HASH: hashed},
            },
            "template": {
                **template,
                "metadata": {**(template.get("metadata") or {}), "labels": labels},
            },
        },
    }
