"""Claims: each is bound to one volume, found among those that are free, or made for it.

A volume is made with the claim's name in it, and the name is made of the claim's uid: a kill between
two steps leaves nothing that the next look does not find, and nothing is made twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.groundwork.references import object_reference
from jindou.control.controllers.scheduling.cluster import NodeState
from jindou.control.controllers.storage import plans
from jindou.control.controllers.storage.plans import annotation, phase
from jindou.objects.errors import AlreadyExists, CloudError, NotFound
from jindou.objects.kinds import (
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    STORAGE_CLASS,
    Kind,
    Object,
    Ref,
    ref_of,
)


class Claims:
    """`folder`: where nodes keep what is in our own volumes."""

    kind = PERSISTENT_VOLUME_CLAIM
    owns: Sequence[Kind] = ()
    name = "claims"

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._events = Recorder("persistentvolume-controller")

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._claims = informers.of(PERSISTENT_VOLUME_CLAIM)
        self._volumes = informers.of(PERSISTENT_VOLUME)
        self._classes = informers.of(STORAGE_CLASS)
        self._nodes = informers.of(NODE)
        self._pods = informers.of(POD)
        self._pods.index("claim", _claims_in)
        self._volumes.on_change(self._volume_changed)
        self._classes.on_change(self._class_changed)
        self._nodes.on_change(self._node_changed)
        self._pods.on_change(self._pod_changed)

    def _volume_changed(self, old: Object | None, new: Object | None) -> None:
        for volume in (old, new):
            reference = (volume or {"spec": {}})["spec"].get("claimRef")
            if reference and reference.get("name") and reference.get("namespace"):
                self._wake(Ref(self.kind, reference["namespace"], reference["name"]))
        if new is not None and not new["spec"].get("claimRef"):
            self._wake_waiting(new["metadata"]["name"])

    def _class_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._wake_waiting()

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None:
            self._wake_waiting()

    def _wake_waiting(self, volume: str = "") -> None:
        """Those without a volume, and those that name this one."""
        for claim in self._claims.all():
            if claim["spec"].get("volumeName", "") in ("", volume):
                self._wake(ref_of(self.kind, claim))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A claim says whether it is used, and one that is to go waits for its Pods; one that is
        described by its Pod is made here."""
        pod = new if new is not None else old
        assert pod is not None
        if old is not None and new is not None and plans.has_ended(old) == plans.has_ended(new):
            return
        for name in plans.claim_names(pod):
            self._wake(Ref(self.kind, pod["metadata"]["namespace"], name))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        claim = self._claims.get(ref.namespace, ref.name)
        if claim is None:
            await self._make_ephemeral(client, ref)
        elif claim["metadata"].get("deletionTimestamp"):
            await self._release(client, claim)
        elif claim["spec"].get("volumeName"):
            await self._hold(client, claim)
        else:
            await self._find(client, claim)
        return None

    # ------------------------------------------------------------ the end of a claim

    async def _release(self, client: Client, claim: Object) -> None:
        """Its finalizer goes when no Pod uses it, which the API itself is asked."""
        meta = claim["metadata"]
        held = meta.get("finalizers") or []
        key = f"{meta['namespace']}/{meta['name']}"
        if plans.IN_USE not in held or plans.users_of(claim, self._pods.by("claim", key)):
            return
        live = await client.find(POD, meta["namespace"])
        if plans.users_of(claim, live.items):
            return
        changes = {
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
            "finalizers": [name for name in held if name != plans.IN_USE],
        }
        await client.patch(ref_of(self.kind, claim), {"metadata": changes})

    # ------------------------------------------------------------ binding

    async def _hold(self, client: Client, claim: Object) -> None:
        """A claim that names its volume: bound, or to be bound to it."""
        volume = self._volumes.get("", claim["spec"]["volumeName"])
        if volume is None:
            if annotation(claim, plans.BIND_COMPLETED):
                text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
                await self._lose(client, claim, "ClaimLost", text)
            return
        if volume["spec"].get("claimRef") and not plans.is_for(volume, claim):
            if annotation(claim, plans.BIND_COMPLETED):
                text = "Two claims are bound to the same volume, this one is bound incorrectly"
                await self._lose(client, claim, "ClaimMisbound", text)
            return
        await self._bind(client, claim, volume)

    async def _lose(self, client: Client, claim: Object, reason: str, text: str) -> None:
        if phase(claim) == "Lost":
            return
        await self._write(client, claim, {"phase": "Lost"})
        self._events.event(client, claim, reason, text, "Warning")

    async def _find(self, client: Client, claim: Object) -> None:
        name = claim["spec"].get("storageClassName") or ""
        storage = self._classes.get("", name) if name else None
        waits = storage is not None and storage.get("volumeBindingMode") == "WaitForFirstConsumer"
        chosen = annotation(claim, plans.SELECTED_NODE)
        volumes = self._volumes.all()
        if waits and not chosen:
            volumes = [volume for volume in volumes if volume["spec"].get("claimRef")]
        node = self._node(chosen) if chosen else None
        if chosen and node is None:
            await self._choose_again(client, claim)
            return
        volume = plans.plan_volume(claim, volumes, node)
        if volume is not None:
            await self._bind(client, claim, volume)
        elif waits and not chosen:
            text = "waiting for first consumer to be created before binding"
            self._events.event(client, claim, "WaitForFirstConsumer", text)
        elif storage is not None:
            await self._provision(client, claim, storage, node)
        elif name:
            text = f'storageclass.storage.k8s.io "{name}" not found'
            self._events.event(client, claim, "ProvisioningFailed", text, "Warning")
        else:
            text = "no persistent volumes available for this claim and no storage class is set"
            self._events.event(client, claim, "FailedBinding", text)

    async def _choose_again(self, client: Client, claim: Object) -> None:
        """The scheduler's node is gone: it has to find another one."""
        meta = claim["metadata"]
        changes = {
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
            "annotations": {plans.SELECTED_NODE: None},
        }
        await client.patch(ref_of(self.kind, claim), {"metadata": changes})

    async def _bind(self, client: Client, claim: Object, volume: Object) -> None:
        """The volume first, then the claim: each step may have been done before."""
        meta, reference = claim["metadata"], volume["spec"].get("claimRef") or {}
        if reference.get("uid") != meta["uid"]:
            annotations = volume["metadata"].setdefault("annotations", {})
            if not reference:
                annotations[plans.BY_CONTROLLER] = "yes"
            volume["spec"]["claimRef"] = object_reference(PERSISTENT_VOLUME_CLAIM, claim)
            volume = await client.update(PERSISTENT_VOLUME, volume)
            await self._volumes.caught_up(volume["metadata"].get("resourceVersion", ""))
        name = volume["metadata"]["name"]
        if claim["spec"].get("volumeName") != name or not annotation(claim, plans.BIND_COMPLETED):
            annotations = claim["metadata"].setdefault("annotations", {})
            if not claim["spec"].get("volumeName"):
                annotations[plans.BY_CONTROLLER] = "yes"
            annotations[plans.BIND_COMPLETED] = "yes"
            claim["spec"]["volumeName"] = name
            claim = await client.update(PERSISTENT_VOLUME_CLAIM, claim)
        key = f"{meta['namespace']}/{meta['name']}"
        used = not all(plans.has_ended(pod) for pod in self._pods.by("claim", key))
        await self._write(client, claim, plans.bound_status(claim, volume, used))

    async def _write(self, client: Client, claim: Object, status: Object) -> None:
        if status != (claim.get("status") or {}):
            claim = await client.update(self.kind, {**claim, "status": status}, "status")
            await self._claims.caught_up(claim["metadata"].get("resourceVersion", ""))

    # ------------------------------------------------------------ making

    def _node(self, name: str) -> NodeState | None:
        node = self._nodes.get("", name)
        if node is None:
            return None
        state = NodeState(name)
        state.update(node)
        return state

    async def _provision(
        self, client: Client, claim: Object, storage: Object, node: NodeState | None
    ) -> None:
        provisioner = storage["provisioner"]
        if any(annotation(claim, name) != provisioner for name in plans.ASKED):
            annotations = dict.fromkeys(plans.ASKED, provisioner)
            ref = ref_of(self.kind, claim)
            claim = await client.patch(ref, {"metadata": {"annotations": annotations}})
        if provisioner != plans.PROVISIONER:
            text = f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
            self._events.event(client, claim, "ExternalProvisioning", text)
            return
        refused = plans.refusal(claim)
        if not refused and node is None:
            names = sorted(name for _, name in self._nodes.names())
            node = self._node(names[0]) if names else None
            refused = "" if node is not None else "no node is there"
        if refused or node is None:
            name = storage["metadata"]["name"]
            text = f'failed to provision volume with StorageClass "{name}": {refused}'
            self._events.event(client, claim, "ProvisioningFailed", text, "Warning")
            return
        volume = plans.volume_for(claim, storage, node, self._folder)
        try:
            made = await client.create(PERSISTENT_VOLUME, volume)
        except AlreadyExists:
            return  # ours, seen late: it wakes us
        except CloudError as error:
            self._events.event(client, claim, "ProvisioningFailed", str(error), "Warning")
            raise
        await self._volumes.caught_up(made["metadata"].get("resourceVersion", ""))
        text = f"Successfully provisioned volume {made['metadata']['name']}"
        self._events.event(client, claim, "ProvisioningSucceeded", text)

    async def _make_ephemeral(self, client: Client, ref: Ref) -> None:
        """A claim that a Pod describes itself is there as long as the Pod, and goes with it."""
        for pod in self._pods.by("claim", f"{ref.namespace}/{ref.name}"):
            claim = plans.described_by(pod, ref.name)
            if claim is None or pod["metadata"].get("deletionTimestamp") or plans.has_ended(pod):
                continue
            try:
                await client.create(self.kind, claim)
            except (AlreadyExists, NotFound):
                pass
            return


def _claims_in(pod: Object) -> list[str]:
    namespace = pod["metadata"].get("namespace", "")
    return [f"{namespace}/{name}" for name in plans.claim_names(pod)]
