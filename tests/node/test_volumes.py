"""Volumes of Pods against the real API: made, refused with the kubelet's words, kept true, gone."""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import stat

import pytest

from jindou.control.api.access import certificates
from jindou.machine.volumes.local import LocalVolumes
from jindou.node.images import Puller
from jindou.node.references import References, Token
from jindou.node.volumes.mounts import MountRefused, plan_mount, plan_subpath
from jindou.node.volumes.sources import Refused, check_host_path
from jindou.node.volumes.storage import ephemeral_excess, memory_size
from jindou.node.volumes.volumes import VolumeError, Volumes
from jindou.objects.kinds import (
    CONFIG_MAP,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    SECRET,
    Ref,
)
from jindou.settings import Settings
from tests.machine.isolation import isolated
from tests.node.machine import Store, cloud


class World:
    def __init__(self, folder, client):
        self.client = client
        self.settings = Settings(data=str(folder / "data"), run=str(folder / "run"))
        self.references = References(client)
        self.volumes = Volumes(
            self.settings, LocalVolumes(), self.references, client,
            allocatable=lambda: {"cpu": "2", "memory": "1Gi"},
        )  # fmt: skip

    async def pod(self, *volumes, mounts=None, **spec):
        container = {
            "name": "main", "image": "busybox",
            "volumeMounts": mounts or [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in volumes],
        }  # fmt: skip
        return await self.client.create(
            POD,
            {
                "metadata": {"name": "web", "namespace": "default", "labels": {"a": "1"}},
                "spec": {
                    "containers": [container], "volumes": list(volumes),
                    "automountServiceAccountToken": False, **spec,
                },
            },
        )  # fmt: skip

    async def config(self, name="c", **data):
        held = {"metadata": {"name": name, "namespace": "default"}, "data": data}
        return await self.client.create(CONFIG_MAP, held)


async def until(path, data: bytes) -> None:
    async with asyncio.timeout(5):
        while not path.exists() or path.read_bytes() != data:  # noqa: ASYNC110 - files call nobody
            await asyncio.sleep(0.001)


def world(test):
    @functools.wraps(test)
    def run(tmp_path):
        async def main():
            async with cloud(tmp_path) as client:
                held = World(tmp_path, client)
                try:
                    await test(held)
                finally:
                    await held.volumes.close()
                    await held.references.close()

        asyncio.run(main())

    del run.__wrapped__
    return run


@world
async def test_config_maps_and_secrets_become_files_that_follow_them(world):
    await world.config(a="1", b="2")
    secret = {"metadata": {"name": "s", "namespace": "default"}, "stringData": {"key": "hidden"}}
    await world.client.create(SECRET, secret)
    pod = await world.pod(
        {"name": "all", "configMap": {"name": "c"}},
        {"name": "some", "configMap": {"name": "c", "items": [{"key": "b", "path": "x/y", "mode": 0o400}]}},
        {"name": "secret", "secret": {"secretName": "s", "defaultMode": 0o440}},
        {"name": "none", "configMap": {"name": "none", "optional": True}},
    )  # fmt: skip
    paths = await world.volumes.prepare(pod)
    assert (paths["all"] / "a").read_text() == "1"
    assert (paths["some"] / "x/y").read_text() == "2"
    assert stat.S_IMODE((paths["some"] / "x/y").stat().st_mode) == 0o400
    assert stat.S_IMODE((paths["secret"] / "key").stat().st_mode) == 0o440
    assert [n for n in os.listdir(paths["none"]) if not n.startswith("..")] == []
    changes = {"data": {"a": "new", "b": None, "c": "more"}}
    await world.client.patch(Ref(CONFIG_MAP, "default", "c"), changes)
    await until(paths["all"] / "a", b"new")
    assert (paths["all"] / "c").read_text() == "more"
    assert not (paths["all"] / "b").exists()
    assert (paths["some"] / "x/y").read_text() == "2"  # its key is gone: the files stay
    await world.config("none", late="here")
    await until(paths["none"] / "late", b"here")
    await world.client.delete(Ref(CONFIG_MAP, "default", "c"))
    await world.volumes.release(pod["metadata"]["uid"])
    assert not any(path.exists() for path in paths.values())


@pytest.mark.slow
@world
async def test_a_token_is_projected_beside_the_rest_and_renewed(world):
    issued = []

    async def token(pod, audience="", seconds=3600, account=""):
        issued.append((audience, seconds))
        loop_now = __import__("time").time()
        return Token(f"token-{len(issued)}", loop_now + 1.3)

    world.references.token = token
    await world.config("kube-root-ca.crt", **{"ca.crt": "CA"})
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]  # fmt: skip
    pod = await world.pod({"name": "api", "projected": {"sources": sources}})
    path = (await world.volumes.prepare(pod))["api"]
    assert [(path / name).read_text() for name in ("token", "ca.crt", "namespace")] == [
        "token-1",
        "CA",
        "default",
    ]
    await world.volumes.prepare(pod)
    assert issued == [("", 3607)]
    await until(path / "token", b"token-2")


@world
async def test_the_real_token_is_the_pods_own(world):
    folder = world.volumes._data.parent.parent
    certificates.ensure(folder, [])
    (folder / "service-accounts.key").rename(folder / "sa.key")
    sources = [{"serviceAccountToken": {"path": "token", "audience": "vault"}}]
    pod = await world.pod({"name": "api", "projected": {"sources": sources}})
    path = (await world.volumes.prepare(pod))["api"]
    claims = (path / "token").read_text().split(".")[1]
    text = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)).decode()
    assert pod["metadata"]["uid"] in text
    assert "vault" in text


@world
async def test_files_show_the_pods_labels_as_they_change(world):
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}},
    ]
    pod = await world.pod({"name": "me", "downwardAPI": {"items": items}})
    path = (await world.volumes.prepare(pod))["me"]
    assert ((path / "labels").read_text(), (path / "cpu").read_text()) == ('a="1"', "2")
    pod["metadata"]["labels"]["b"] = "2"
    changed = await world.client.update(POD, pod)
    world.volumes.update(changed)
    await until(path / "labels", b'a="1"\nb="2"')


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "x"}}, 'MountVolume.SetUp failed for volume "v" : configmap "x" not found'),
        ({"secret": {"secretName": "x"}}, 'MountVolume.SetUp failed for volume "v" : secret "x" not found'),
        ({"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}, 'MountVolume.SetUp failed for volume "v" : references non-existent config key: k'),
        ({"hostPath": {"path": "/no/such", "type": "Directory"}}, 'MountVolume.SetUp failed for volume "v" : hostPath type check failed: /no/such is not a directory'),
        ({"persistentVolumeClaim": {"claimName": "x"}}, 'error processing PVC default/x: failed to fetch PVC from API server: persistentvolumeclaims "x" not found'),
        ({"nfs": {"server": "s", "path": "/"}}, 'MountVolume.SetUp failed for volume "v" : no volume plugin matched'),
    ],
)  # fmt: skip
def test_what_cannot_be_mounted_is_named(tmp_path, volume, message):
    async def main():
        async with cloud(tmp_path) as client:
            held = World(tmp_path, client)
            await held.config()
            pod = await held.pod({"name": "v", **volume})
            with pytest.raises(VolumeError) as failed:
                await held.volumes.prepare(pod)
            assert str(failed.value) == message
            await held.volumes.release(pod["metadata"]["uid"])
            await held.references.close()

    asyncio.run(main())


@world
async def test_a_volume_that_was_missing_is_there_at_the_next_try(world):
    pod = await world.pod({"name": "v", "configMap": {"name": "late"}})
    with pytest.raises(VolumeError):
        await world.volumes.prepare(pod)
    await world.config("late", a="1")
    path = None
    async with asyncio.timeout(5):
        while path is None:
            try:
                path = (await world.volumes.prepare(pod))["v"]
            except VolumeError:
                await asyncio.sleep(0.001)
    assert (path / "a").read_text() == "1"


@world
async def test_only_what_a_container_mounts_is_made(world):
    await world.config(a="1")
    pod = await world.pod(
        {"name": "used", "emptyDir": {}}, {"name": "unused", "configMap": {"name": "none"}},
        mounts=[{"name": "used", "mountPath": "/x"}],
    )  # fmt: skip
    assert list(await world.volumes.prepare(pod)) == ["used"]


@world
async def test_an_empty_folder_keeps_its_content_over_a_restart_and_tells_its_size(world):
    pod = await world.pod({"name": "e", "emptyDir": {"sizeLimit": "1Mi"}})
    path = (await world.volumes.prepare(pod))["e"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o777
    (path / "f").write_bytes(b"x" * 500_000)
    path.chmod(0o750)  # as a database does
    again = World.__new__(World)
    World.__init__(again, world.volumes._data.parent.parent, world.client)
    assert (await again.volumes.prepare(pod))["e"] == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert stat.S_IMODE(again.volumes._data.stat().st_mode) == 0o700
    assert (await again.volumes.usage(pod))["e"] >= 500_000
    assert await again.volumes.over_limit(pod, {}) == ""
    (path / "g").write_bytes(b"x" * 800_000)
    assert (
        await again.volumes.over_limit(pod, {})
        == 'Usage of EmptyDir volume "e" exceeds the limit "1Mi". '
    )
    await again.volumes.release(pod["metadata"]["uid"])
    assert not path.exists()


@world
async def test_a_claim_leads_to_the_place_of_its_volume(world):
    place = world.volumes._data.parent.parent / "disk"
    place.mkdir()
    volume = {
        "metadata": {"name": "pv"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": str(place)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "x", "operator": "Exists"}]}]}},
        },
    }  # fmt: skip
    await world.client.create(PERSISTENT_VOLUME, volume)
    claim = {
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeName": "pv", "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }  # fmt: skip
    made = await world.client.create(PERSISTENT_VOLUME_CLAIM, claim)
    pod = await world.pod({"name": "v", "persistentVolumeClaim": {"claimName": "data"}})
    with pytest.raises(VolumeError, match="PVC is not bound"):
        await world.volumes.prepare(pod)
    made["status"] = {"phase": "Bound"}
    await world.client.update(PERSISTENT_VOLUME_CLAIM, made, "status")
    assert await world.volumes.prepare(pod) == {"v": place}
    await world.volumes.release(pod["metadata"]["uid"])
    assert place.exists()


@pytest.mark.root
@isolated
def test_memory_ownership_and_subpaths_on_the_machine(tmp_path):
    @world
    async def inside(world):
        pod = await world.pod(
            {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "d", "emptyDir": {}},
            mounts=[
                {"name": "m", "mountPath": "/m", "readOnly": True, "recursiveReadOnly": "Enabled"},
                {"name": "d", "mountPath": "/d", "subPathExpr": "$(POD)/logs", "mountPropagation": "HostToContainer"},
            ],
            securityContext={"fsGroup": 4321},
        )  # fmt: skip
        paths = await world.volumes.prepare(pod)
        assert paths["d"].stat().st_gid == paths["m"].stat().st_gid == 4321
        container = pod["spec"]["containers"][0]
        memory, disk = world.volumes.mounts(pod, container, paths, [("POD", "web")])
        assert (memory.target, memory.options) == ("/m", ("rbind", "rprivate", "rro"))
        assert (disk.target, disk.options) == ("/d", ("rbind", "rslave", "rw"))
        with open(f"{disk.source}/f", "w") as file:
            file.write("x")
        assert (paths["d"] / "web/logs/f").exists()
        with pytest.raises(VolumeError, match='missing value for "POD"'):
            world.volumes.mounts(pod, container, paths)
        await world.volumes.release(pod["metadata"]["uid"])
        assert not any(path.exists() for path in paths.values())

    inside(tmp_path)


@pytest.mark.parametrize(
    ("wish", "env", "path"),
    [
        ({}, {}, ""),
        ({"subPath": "a/b"}, {}, "a/b"),
        ({"subPathExpr": "$(A)/$$(A)"}, {"A": "x"}, "x/$(A)"),
        ({"subPathExpr": "$(A)"}, {}, None),
        ({"subPathExpr": "$(A)"}, {"A": "../x"}, None),
        ({"subPathExpr": "$(A)"}, {"A": "/x"}, None),
    ],
)
def test_paths_inside_volumes(wish, env, path):
    if path is None:
        with pytest.raises(MountRefused):
            plan_subpath(wish, env)
    else:
        assert plan_subpath(wish, env) == path


def test_published_volumes_are_read_only():
    from pathlib import Path

    assert plan_mount({"mountPath": "x"}, Path("/v"), True).options == ("rbind", "rprivate", "ro")
    assert plan_mount({"mountPath": "x"}, Path("/v"), True).target == "/x"


def test_every_type_of_host_path(tmp_path):
    import socket

    (tmp_path / "file").write_text("")
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(tmp_path / "sock"))
    made.close()
    there = {
        "Directory": tmp_path, "File": tmp_path / "file", "Socket": tmp_path / "sock",
        "CharDevice": "/dev/null", "DirectoryOrCreate": tmp_path / "new/folder",
        "FileOrCreate": tmp_path / "new-file", "": tmp_path / "any/thing",
    }  # fmt: skip
    for kind, path in there.items():
        assert check_host_path(str(path), kind).exists()
    for kind, path in (("File", tmp_path), ("Socket", tmp_path / "file"), ("BlockDevice", "/dev/null"), ("DirectoryOrCreate", tmp_path / "file")):  # fmt: skip
        with pytest.raises(Refused, match=r"^hostPath type check failed: .* is not a"):
            check_host_path(str(path), kind)
    with pytest.raises(Refused):
        check_host_path("/a/../etc", "")


def test_memory_volumes_are_no_larger_than_the_pod_may_be():
    def pod(*limits):
        return {"spec": {"containers": [{"name": str(n), "resources": {"limits": {"memory": m} if m else {}}} for n, m in enumerate(limits)]}}  # fmt: skip

    assert memory_size(pod(""), None) == 0
    assert memory_size(pod(""), "1Ki") == 1024
    assert memory_size(pod("1Ki", "1Ki"), None) == 2048
    assert memory_size(pod("1Ki", ""), "1Mi") == 1 << 20
    assert memory_size(pod("1Ki"), "1Mi") == 1024


def test_which_limit_of_local_storage_is_exceeded():
    limits = {"resources": {"limits": {"ephemeral-storage": "1Ki"}}}
    pod = {"spec": {"containers": [{"name": "a", **limits}, {"name": "b", **limits}], "volumes": [{"name": "e", "emptyDir": {}}]}}  # fmt: skip
    assert ephemeral_excess(pod, {"a": 500, "b": 500}, {"e": 1000}) == ""
    assert ephemeral_excess(pod, {"a": 500, "b": 500}, {"e": 2000}) == "Pod ephemeral local storage usage exceeds the total limit of containers 2Ki. "  # fmt: skip
    assert ephemeral_excess(pod, {"a": 1025, "b": 0}, {}) == 'Container a exceeded its local ephemeral storage limit "1Ki". '  # fmt: skip


@world
async def test_an_image_is_mounted_as_a_volume_and_let_go(world):
    folder = world.volumes._data.parent.parent
    images, told = Store(folder), []
    puller = Puller(images, world.references, lambda *event: told.append(event))
    volumes = Volumes(world.settings, LocalVolumes(), world.references, world.client, puller=puller)
    pod = await world.pod({"name": "model", "image": {"reference": "r.io/model:1"}})
    for _ in range(2):
        assert await volumes.prepare(pod) == {"model": folder}
    assert images.mounted == {f"{pod['metadata']['uid']}-volume-model"}
    (mount,) = volumes.mounts(pod, pod["spec"]["containers"][0], {"model": folder})
    assert "ro" in mount.options
    await volumes.release(pod["metadata"]["uid"])
    assert images.mounted == set()
    pod["spec"]["volumes"][0]["image"] = {"reference": "r.io/missing:1", "pullPolicy": "Never"}
    with pytest.raises(VolumeError, match="is not present with pull policy of Never"):
        await volumes.prepare(pod)
