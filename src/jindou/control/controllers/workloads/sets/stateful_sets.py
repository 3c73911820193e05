"""StatefulSets: numbered Pods, each with a name and claims of its own that outlive it.

Names are fixed, so that nothing can be made twice, whatever a kill has left behind.
"""

from __future__ import annotations

from collections.abc import Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import times
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.workloads.owned_pods import OwnedPods
from jindou.control.controllers.workloads.sets import claim_plans, revisions, stateful_plans
from jindou.control.controllers.workloads.sets.revisions import POD_LABEL, Revisions
from jindou.control.controllers.workloads.sets.stateful_plans import Member, Step, View, ordinal_of
from jindou.objects.errors import AlreadyExists, CloudError, Conflict
from jindou.objects.kinds import (
    CONTROLLER_REVISION,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    STATEFUL_SET,
    Kind,
    Object,
    Ref,
    ref_of,
)

HASH = "controller.kubernetes.io/hash"


class StatefulSets:
    kind = STATEFUL_SET
    owns: Sequence[Kind] = (POD, CONTROLLER_REVISION)
    name = "stateful-sets"
    pace = 0.03

    def __init__(self) -> None:
        self._events = Recorder("statefulset-controller")
        self._owned = OwnedPods(STATEFUL_SET, self._events, told=False)
        self._revisions = Revisions(STATEFUL_SET, HASH)

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._sets = informers.of(STATEFUL_SET)
        self._claims = informers.of(PERSISTENT_VOLUME_CLAIM)
        self._wake = wake
        self._claims.on_change(self._claim_changed)
        self._owned.follow(informers, wake)
        self._revisions.follow(informers, wake)

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        """A Pod is not made while claims of the last one of its number are on their way out."""
        if new is not None or old is None:
            return
        for owner in self._sets.all(old["metadata"]["namespace"]):
            if claim_plans.may_own(owner, old["metadata"]["name"]):
                self._wake(ref_of(STATEFUL_SET, owner))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        owner = self._sets.get(ref.namespace, ref.name)
        if owner is None:
            return None
        past = await self._revisions.claimed(client, owner)
        pods = await self._owned.claimed(
            client, owner, member=lambda pod: ordinal_of(owner, pod["metadata"]["name"]) >= 0
        )
        before = owner.get("status") or {}
        collisions = before.get("collisionCount") or 0
        update, collisions = await self._revisions.of_now(client, owner, past, collisions)
        name = before.get("currentRevision", "")
        current = next((one for one in past if one["metadata"]["name"] == name), update)
        view = stateful_plans.view_of(
            owner, current, update, pods, self._claims_of(owner, pods), times.now()
        )
        steps = []
        if not owner["metadata"].get("deletionTimestamp"):
            steps = stateful_plans.plan_steps(view)
        failure = await self._take(client, view, steps)
        status = stateful_plans.plan_status(view, () if failure else steps, collisions)
        if status != before:
            written = await client.update(STATEFUL_SET, {**owner, "status": status}, "status")
            await self._sets.caught_up(written["metadata"].get("resourceVersion", ""))
        if failure is not None:
            raise failure
        live = {current["metadata"]["name"], update["metadata"]["name"]}
        live |= {(pod["metadata"].get("labels") or {}).get(POD_LABEL, "") for pod in pods}
        await self._revisions.delete(client, revisions.plan_surplus(owner, past, live))
        return stateful_plans.next_available(view)

    def _claims_of(self, owner: Object, pods: Sequence[Object]) -> dict[str, Object]:
        start = stateful_plans.start_of(owner)
        ordinals = {*range(start, start + stateful_plans.wanted(owner))}
        ordinals |= {ordinal_of(owner, pod["metadata"]["name"]) for pod in pods}
        found = {}
        for template in claim_plans.templates_of(owner):
            for ordinal in ordinals:
                name = claim_plans.claim_name(owner, template, ordinal)
                claim = self._claims.get(owner["metadata"]["namespace"], name)
                if claim is not None:
                    found[name] = claim
        return found

    # ------------------------------------------------------------ steps

    async def _take(self, client: Client, view: View, steps: Sequence[Step]) -> CloudError | None:
        """In order. In parallel management, one that fails does not hold up the others."""
        does = {
            "create": self._create,
            "delete": self._delete,
            "mend": self._mend,
            "claims": self._claim,
        }
        failure: CloudError | None = None
        for step in steps:
            try:
                await does[step.verb](client, view, step.member)
            except CloudError as error:
                failure = failure or error
                if not stateful_plans.parallel(view.owner):
                    break
        return failure

    async def _create(self, client: Client, view: View, member: Member) -> None:
        pod = stateful_plans.pod_of(view, member.ordinal)
        name = pod["metadata"]["name"]
        try:
            await self._make_claims(client, view, member.ordinal, name)
            made = await client.create(POD, pod)
        except AlreadyExists:
            raise  # ours, seen late, or somebody else's: told to nobody, as in the original
        except CloudError as error:
            self._tell_pod(client, view.owner, "create", name, error)
            raise
        self._tell_pod(client, view.owner, "create", name)
        await self._owned.informer.caught_up(made["metadata"].get("resourceVersion", ""))
        await self._own_claims(client, view, made, member.ordinal)

    async def _delete(self, client: Client, view: View, member: Member) -> None:
        assert member.pod is not None
        _, failure = await self._owned.delete(client, view.owner, [member.pod])
        self._tell_pod(client, view.owner, "delete", member.pod["metadata"]["name"], failure)
        if failure is not None:
            raise failure

    async def _mend(self, client: Client, view: View, member: Member) -> None:
        pod = member.pod
        assert pod is not None
        wanted = {**pod, "metadata": dict(pod["metadata"]), "spec": dict(pod["spec"])}
        stateful_plans.mend(view.owner, wanted, member.ordinal)
        name = pod["metadata"]["name"]
        try:
            await self._make_claims(client, view, member.ordinal, name)
            await self._own_claims(client, view, pod, member.ordinal)
            if stateful_plans.in_range(view.owner, member.ordinal) and wanted != pod:
                written = await client.update(POD, wanted)
                await self._owned.informer.caught_up(written["metadata"]["resourceVersion"])
                self._tell_pod(client, view.owner, "update", name)
        except CloudError as error:
            self._tell_pod(client, view.owner, "update", name, error)
            raise

    async def _claim(self, client: Client, view: View, member: Member) -> None:
        assert member.pod is not None
        await self._make_claims(client, view, member.ordinal, member.pod["metadata"]["name"])
        await self._own_claims(client, view, member.pod, member.ordinal)

    # ------------------------------------------------------------ claims

    async def _make_claims(self, client: Client, view: View, ordinal: int, pod: str) -> None:
        if not stateful_plans.in_range(view.owner, ordinal):
            return
        for claim in claim_plans.claims_of(view.owner, ordinal):
            meta = claim["metadata"]
            held = self._claims.get(meta["namespace"], meta["name"])
            if held is not None:
                if held["metadata"].get("deletionTimestamp"):
                    raise Conflict(f"pvc {meta['name']} is being deleted")
                continue
            about = f"Claim {meta['name']}"
            in_set = f"Pod {pod} in StatefulSet {view.owner['metadata']['name']}"
            try:
                made = await client.create(PERSISTENT_VOLUME_CLAIM, claim)
            except AlreadyExists:
                continue
            except CloudError as error:
                text = f"Create {about} for {in_set} failed error: {error}"
                self._events.event(client, view.owner, "FailedCreate", text, "Warning")
                raise
            text = f"Create {about} {in_set} success"
            self._events.event(client, view.owner, "SuccessfulCreate", text)
            await self._claims.caught_up(made["metadata"].get("resourceVersion", ""))

    async def _own_claims(self, client: Client, view: View, pod: Object, ordinal: int) -> None:
        held = self._claims_of(view.owner, [pod])
        scaled_down = not stateful_plans.in_range(view.owner, ordinal)
        for claim in claim_plans.held(view.owner, ordinal, held):
            if claim_plans.conflicting(claim, view.owner, pod):
                text = f"PersistentVolumeClaim {claim['metadata']['name']} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim"
                self._events.event(client, view.owner, "ConflictingController", text, "Warning")
            wanted = claim_plans.plan_owners(claim, view.owner, pod, scaled_down)
            if wanted is None:
                continue
            meta = {
                "uid": claim["metadata"]["uid"],
                "resourceVersion": claim["metadata"]["resourceVersion"],
                "ownerReferences": wanted,
            }
            ref = ref_of(PERSISTENT_VOLUME_CLAIM, claim)
            written = await client.patch(ref, {"metadata": meta})
            await self._claims.caught_up(written["metadata"].get("resourceVersion", ""))

    def _tell_pod(
        self,
        client: Client,
        owner: Object,
        verb: str,
        pod: str,
        error: CloudError | None = None,
    ) -> None:
        text = f"{verb.capitalize()} Pod {pod} in StatefulSet {owner['metadata']['name']}"
        if error is None:
            reason = f"Successful{verb.capitalize()}"
            self._events.event(client, owner, reason, f"{text} successful")
        else:
            text = f"{text} failed error: {error}"
            self._events.event(client, owner, f"Failed{verb.capitalize()}", text, "Warning")
