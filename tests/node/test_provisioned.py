"""Folders of this node that are volumes: given back when the API says so, and nothing else is touched."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from jindou.control.api.access.tokens import Tokens
from jindou.control.api.server import ApiServer
from jindou.control.store.memory import MemoryStore
from jindou.machine.volumes import Volumes
from jindou.machine.volumes.local import LocalVolumes
from jindou.machine.volumes.pretend import PretendVolumes
from jindou.node.volumes.provisioned import (
    FINALIZER,
    PROVISIONED_BY,
    PROVISIONER,
    Provisioned,
    is_to_go,
)
from jindou.objects.kinds import PERSISTENT_VOLUME, Ref
from jindou.settings import Settings

VOLUME = Ref(PERSISTENT_VOLUME, "", "pvc-1")


def volume(path: Path, policy: str = "Delete", node: str = "here") -> dict[str, Any]:
    match = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": "pvc-1",
            "annotations": {PROVISIONED_BY: PROVISIONER},
            "finalizers": [FINALIZER],
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": str(path), "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [match]}]}},
            "persistentVolumeReclaimPolicy": policy,
        },
    }


def delete(tmp_path: Path, made: dict[str, Any], driver: Volumes | None = None) -> None:
    """Until the volume is gone, which takes this node's consent."""

    async def main() -> None:
        settings = Settings(data=str(tmp_path))
        server = ApiServer(MemoryStore(), settings, Tokens(Path("/nonexistent"), "cluster.local"))
        await server.start()
        client = server.local()
        created = await client.create(PERSISTENT_VOLUME, made)
        provisioned = Provisioned(settings, client, driver or PretendVolumes(), "here")
        running = asyncio.create_task(provisioned.run())
        try:
            await client.delete(VOLUME)
            await client.patch(VOLUME, {"metadata": {"finalizers": [FINALIZER]}})
            after = created["metadata"]["resourceVersion"]
            async with asyncio.timeout(10):
                async for event in client.watch(PERSISTENT_VOLUME, after=after):
                    if event.type == "DELETED":
                        return
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            server.close()

    asyncio.run(main())


@pytest.mark.parametrize(("policy", "left"), [("Delete", False), ("Retain", True)])
def test_what_becomes_of_the_folder(tmp_path: Path, policy: str, left: bool) -> None:
    folder = tmp_path / "volumes" / "pvc-1"
    folder.mkdir(parents=True)
    (folder / "file").write_text("kept")
    delete(tmp_path, volume(folder, policy))
    assert folder.exists() is left


@pytest.mark.parametrize(
    ("change", "ours"),
    [
        ({}, True),
        ({"deletionTimestamp": None}, False),
        ({"finalizers": [FINALIZER, "kubernetes.io/pv-protection"]}, False),
        ({"finalizers": []}, False),
    ],
)
def test_whose_turn_it_is(change: dict[str, Any], ours: bool) -> None:
    made = volume(Path("/var/lib/jindou/volumes/pvc-1"))
    made["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", **change}
    assert is_to_go(made, "here") is ours
    assert not is_to_go(made, "there")


def test_a_volume_that_names_another_folder_empties_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    delete(tmp_path, volume(precious))
    assert precious.exists()


def test_links_in_a_volume_and_a_link_instead_of_it_lead_nowhere(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    folder = tmp_path / "volumes" / "pvc-1"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "out").symlink_to(precious)
    (folder / "file").symlink_to(precious / "file")
    delete(tmp_path, volume(folder), LocalVolumes())
    assert not folder.exists()
    folder.symlink_to(precious)
    delete(tmp_path, volume(folder), LocalVolumes())
    assert not folder.is_symlink()
    assert (precious / "file").read_text() == "kept"


def test_a_volume_never_empties_the_folder_of_another(tmp_path: Path) -> None:
    other = tmp_path / "volumes" / "pvc-2"
    other.mkdir(parents=True)
    delete(tmp_path, volume(other))
    assert other.exists()
