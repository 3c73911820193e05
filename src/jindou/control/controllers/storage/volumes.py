"""Volumes: free, bound, or left by their claim, and then kept or given back as their policy says.

Giving one of ours back is deleting it: its finalizer has the node empty the folder first.
"""

from __future__ import annotations

from collections.abc import Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.storage import plans
from jindou.control.controllers.storage.plans import annotation, phase
from jindou.objects.errors import NotFound
from jindou.objects.kinds import (
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    Kind,
    Object,
    Ref,
    ref_of,
)


class Volumes:
    kind = PERSISTENT_VOLUME
    owns: Sequence[Kind] = ()
    name = "volumes"

    def __init__(self) -> None:
        self._events = Recorder("persistentvolume-controller")

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._volumes = informers.of(PERSISTENT_VOLUME)
        self._claims = informers.of(PERSISTENT_VOLUME_CLAIM)
        self._volumes.index("claim", _claim_of)
        self._claims.on_change(self._claim_changed)

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        """A volume may name a claim that never came to name it."""
        obj = new if new is not None else old
        assert obj is not None
        key = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
        names = {name for _, name in self._volumes.names_by("claim", key)}
        for name in names | {obj["spec"].get("volumeName", "")} - {""}:
            self._wake(Ref(self.kind, "", name))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        volume = self._volumes.get("", ref.name)
        if volume is None:
            return None
        wanted = await self._phase(client, volume)
        if wanted and wanted != phase(volume):
            status = {**(volume.get("status") or {}), "phase": wanted}
            status.pop("message", None)
            volume = await client.update(self.kind, {**volume, "status": status}, "status")
            await self._volumes.caught_up(volume["metadata"].get("resourceVersion", ""))
        if volume["metadata"].get("deletionTimestamp"):
            await self._let_go(client, volume)
        elif wanted == "Released":
            await self._give_back(client, volume)
        return None

    async def _phase(self, client: Client, volume: Object) -> str:
        """What the phase should be; "": as it is."""
        reference = volume["spec"].get("claimRef") or {}
        if not reference.get("uid"):
            return "Available"
        if phase(volume) == "Failed":
            return ""
        if not _claim_of(volume):
            return "Released"
        claim = self._claims.get(reference["namespace"], reference["name"])
        if claim is None or claim["metadata"]["uid"] != reference["uid"]:
            place = Ref(PERSISTENT_VOLUME_CLAIM, reference["namespace"], reference["name"])
            try:
                claim = await client.get(place)
            except NotFound:
                claim = None
        if claim is None or claim["metadata"]["uid"] != reference["uid"]:
            return "Released"
        return "Bound" if claim["spec"].get("volumeName") == volume["metadata"]["name"] else ""

    async def _let_go(self, client: Client, volume: Object) -> None:
        meta = volume["metadata"]
        held = meta.get("finalizers") or []
        if plans.BOUND_TO not in held or phase(volume) == "Bound":
            return
        changes = {
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
            "finalizers": [name for name in held if name != plans.BOUND_TO],
        }
        await client.patch(ref_of(self.kind, volume), {"metadata": changes})

    async def _give_back(self, client: Client, volume: Object) -> None:
        policy = volume["spec"].get("persistentVolumeReclaimPolicy", "Retain")
        ours = annotation(volume, plans.PROVISIONED_BY) == plans.PROVISIONER
        if policy == "Retain" or (policy == "Delete" and volume["spec"].get("csi")):
            return  # kept, or given back by whoever made it
        if policy == "Delete" and ours:
            meta = volume["metadata"]
            try:
                await client.delete(ref_of(self.kind, volume), uid=meta["uid"])
            except NotFound:
                pass
            return
        reason = "VolumeFailedDelete" if policy == "Delete" else "VolumeFailedRecycle"
        word = "deleter" if policy == "Delete" else "recycler"
        text = f"no {word} plugin found for the volume"
        status = {"phase": "Failed", "reason": reason, "message": text}
        await client.update(self.kind, {**volume, "status": status}, "status")
        self._events.event(client, volume, reason, text, "Warning")


def _claim_of(volume: Object) -> Sequence[str]:
    """Nothing where only half of a claim is named."""
    reference = volume["spec"].get("claimRef") or {}
    namespace, name = reference.get("namespace"), reference.get("name")
    return (f"{namespace}/{name}",) if namespace and name else ()
