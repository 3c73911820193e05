"""Volumes that are folders of this machine: emptied and given back when the API says so.

    DATA/volumes/NAME     one PersistentVolume; made when it is first mounted

A volume that is deleted waits, by its finalizer, until its folder is gone. Nothing outside of
DATA/volumes is ever touched, whatever a volume says.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from jindou.client import Client
from jindou.client.informers import Informer, without_managed_fields
from jindou.client.retry import Backoff
from jindou.machine.volumes import Volumes, VolumesError
from jindou.objects.errors import CloudError, NotFound
from jindou.objects.kinds import PERSISTENT_VOLUME, Object, ref_of
from jindou.settings import Settings

log = logging.getLogger("jindou.volumes")
PROVISIONER = FINALIZER = "jindou.io/node-folder"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"


def is_ours(volume: Object) -> bool:
    """Was it made by the cloud itself, as a folder of a node?"""
    return (volume["metadata"].get("annotations") or {}).get(PROVISIONED_BY) == PROVISIONER


def folder_of(volume: Object, settings: Settings) -> Path | None:
    """Where its content is, if that is the folder that we keep for it."""
    path = Path((volume["spec"].get("hostPath") or {}).get("path") or "/")
    own = Path(settings.data) / "volumes" / volume["metadata"]["name"]
    return path if path == own else None


def named_nodes(volume: Object) -> set[str]:
    terms = ((volume["spec"].get("nodeAffinity") or {}).get("required") or {}).get(
        "nodeSelectorTerms"
    )
    return {
        value
        for term in terms or ()
        for match in term.get("matchExpressions") or ()
        if match["key"] == "kubernetes.io/hostname"
        for value in match.get("values") or ()
    }


def is_to_go(volume: Object, hostname: str) -> bool:
    """Has this machine to give it back?"""
    meta = volume["metadata"]
    return (
        bool(meta.get("deletionTimestamp"))
        and meta.get("finalizers") == [FINALIZER]  # nobody else holds it any more
        and hostname in named_nodes(volume)
    )


class Provisioned:
    """`run` until cancelled."""

    def __init__(self, settings: Settings, client: Client, driver: Volumes, hostname: str) -> None:
        self._settings = settings
        self._client = client
        self._driver = driver
        self._hostname = hostname
        self._waiting: dict[str, Object] = {}
        self._news = asyncio.Event()
        self._informer = Informer(client, PERSISTENT_VOLUME, keep=without_managed_fields)
        self._informer.on_change(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and is_to_go(new, self._hostname):
            self._waiting[new["metadata"]["name"]] = new
            self._news.set()
        elif old is not None:
            self._waiting.pop(old["metadata"]["name"], None)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._informer.run())
            backoff = Backoff(0.2, 60.0)
            while True:
                self._news.clear()
                for name, volume in list(self._waiting.items()):
                    try:
                        await self._give_back(volume)
                        if self._waiting.get(name) is volume:
                            del self._waiting[name]
                        backoff.reset()
                    except (CloudError, VolumesError, OSError) as error:
                        log.warning("volume %s could not be given back yet: %s", name, error)
                if not self._waiting:
                    await self._news.wait()
                    continue
                try:
                    async with asyncio.timeout(backoff.delay()):
                        await self._news.wait()
                except TimeoutError:
                    pass

    async def _give_back(self, volume: Object) -> None:
        meta = volume["metadata"]
        folder = folder_of(volume, self._settings)
        keeps = volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete"
        if folder is not None and is_ours(volume) and not keeps and folder.exists():
            await self._driver.remove(folder)
        changes = {
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
            "finalizers": [],
        }
        try:
            await self._client.patch(ref_of(PERSISTENT_VOLUME, volume), {"metadata": changes})
        except NotFound:
            pass
