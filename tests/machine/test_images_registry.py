"""Pulling from a registry that really speaks, and really fails."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import threading

import pytest

from jindou.machine.images import Credentials, ImageError
from jindou.machine.images.store import ImageStore
from jindou.machine.images.transfer.registry import is_loopback, parse_challenge, told
from jindou.settings import Settings
from tests.machine.registry import INDEX, LAYER, MANIFEST, Registry, digest
from tests.machine.tars import entry, tar

BASE = tar(entry("etc", "folder"), entry("etc/os", data=b"base" * 1000))
TOP = tar(entry("app", "folder"), entry("app/run", data=os.urandom(200_000)))


def pulling(folder, scenario, prepare=None):
    """Run a scenario with a fresh registry that holds team/app:1, and a fresh store."""
    registry = Registry()

    async def main():
        store = ImageStore(Settings(data=str(folder)), pause=0.001)
        try:
            await scenario(registry, store, f"{registry.host}/team/app:1")
            assert leftovers(folder) == []
        finally:
            await store.close()

    with registry.running():
        registry.add_image("1", BASE, TOP)
        if prepare:
            prepare(registry)
        asyncio.run(main())


async def until(true):
    """The server's threads have no event loop to tell."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def leftovers(folder):
    return os.listdir(folder / "images" / "work")


def content(folder):
    images = folder / "images"
    return sorted(os.listdir(images / "blobs" / "sha256")), sorted(os.listdir(images / "layers"))


def test_an_image_comes_whole_and_a_second_pull_asks_for_the_manifest_alone(tmp_path):
    async def scenario(registry, store, name):
        steps = []
        image = await store.pull(name, (), steps.append)
        assert image.names == (name,)
        assert image.config["config"] == {"Cmd": ["sh"]}
        assert image.size == 204_000
        layers = json.loads(registry.manifests["1"][1])["layers"]
        assert steps[-2].done == steps[-2].total == sum(layer["size"] for layer in layers)
        assert store.find(image.digest) == store.find(name) == image
        registry.asked.clear()
        assert await store.pull(name) == image
        assert [path for _, path, _ in registry.asked] == ["/v2/team/app/manifests/1"]
        assert await store.verify() == []

    pulling(tmp_path, scenario)


def test_by_digest_through_indexes_for_this_machine(tmp_path):
    wanted = []

    def prepare(registry):
        mine = {"os": "linux", "architecture": "amd64"}
        entries = []
        for place in (
            {"os": "unknown", "architecture": "unknown"},
            {**mine, "architecture": "arm"},
        ):
            other = registry.add_image("other", tar(entry(str(place))))
            entries.append((other, place))
        entries.append((registry.add_image("mine", BASE), mine))
        inner = registry.add_manifest("inner", INDEX, index(registry, entries))
        wanted.append(registry.add_manifest("1", INDEX, index(registry, [(inner, mine)])))
        wanted.append(entries[-1][0])

    def index(registry, entries):
        listed = [
            {
                "mediaType": registry.manifests[one][0],
                "digest": one,
                "size": len(registry.manifests[one][1]),
                "platform": place,
            }
            for one, place in entries
        ]
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}

    async def scenario(registry, store, name):
        place = name.rpartition(":")[0]
        image = await store.pull(f"{place}@{wanted[0]}")
        assert image.digest == wanted[1]
        assert store.find(f"{place}@{wanted[0]}") == image
        assert store.find(f"{place}:2") is None

    pulling(tmp_path, scenario, prepare)


@pytest.mark.parametrize("scheme", ["bearer", "basic"])
def test_credentials_are_tried_in_turn(tmp_path, scheme):
    def prepare(registry):
        registry.user, registry.scheme = ("me", "secret"), scheme

    async def scenario(registry, store, name):
        wrong, right = Credentials("me", "wrong"), Credentials("me", "secret")
        for credentials in ((), (wrong,)):
            with pytest.raises(ImageError, match="gives no access to team/app") as refused:
                await store.pull(name, credentials)
            assert not refused.value.missing
            assert not refused.value.unreachable
        assert store.all() == []
        await store.pull(name, (wrong, right))
        assert store.find(name)

    pulling(tmp_path, scenario, prepare)


def test_a_token_that_grows_old_is_replaced(tmp_path):
    def prepare(registry):
        registry.user, registry.lifetime = ("me", "secret"), 2
        registry.add_image("1", *(tar(entry(str(number))) for number in range(5)))

    async def scenario(registry, store, name):
        await store.pull(name, (Credentials("me", "secret"),))
        assert registry.tokens >= 3

    pulling(tmp_path, scenario, prepare)


@pytest.mark.guarantee(28)
def test_a_broken_transfer_goes_on_where_it_stopped(tmp_path):
    def prepare(registry):
        registry.break_after = 30_000

    async def scenario(registry, store, name):
        await store.pull(name)
        starts = [headers.get("range") for _, path, headers in registry.asked if "blobs" in path]
        assert [start for start in starts if start] == [
            f"bytes={at}-" for at in range(30_000, 200_000, 30_000)
        ]

    pulling(tmp_path, scenario, prepare)


def test_a_registry_without_ranges_is_given_up_when_it_gets_no_further(tmp_path):
    def prepare(registry):
        registry.break_after, registry.ranges = 30_000, False

    async def scenario(registry, store, name):
        with pytest.raises(ImageError, match="broke off a transfer 5 times") as broken:
            await store.pull(name)
        assert broken.value.unreachable
        assert store.all() == []

    pulling(tmp_path, scenario, prepare)


def test_a_busy_registry_is_asked_again(tmp_path):
    async def scenario(registry, store, name):
        registry.busy = 3
        await store.pull(name)
        registry.busy = 50
        with pytest.raises(ImageError, match="503") as busy:
            await store.pull(name)
        assert busy.value.unreachable

    pulling(tmp_path, scenario)


@pytest.mark.guarantee(28)
def test_damage_is_refused_and_nothing_stays(tmp_path):
    async def scenario(registry, store, name):
        (blob,) = (one for one, data in registry.blobs.items() if len(data) > 100_000)
        registry.corrupt = {blob}
        with pytest.raises(ImageError, match="is damaged: its digest"):
            await store.pull(name)
        whole = registry.blobs[blob]
        registry.corrupt = set()
        registry.blobs[blob] = whole + b"x"
        with pytest.raises(ImageError, match="is damaged: it is longer"):
            await store.pull(name)
        registry.blobs[blob] = whole[:-1] + bytes([whole[-1] ^ 1])
        with pytest.raises(ImageError, match="is damaged: its digest"):
            await store.pull(name)
        assert store.all() == []
        await store.collect(())
        assert content(tmp_path) == ([], [])
        registry.blobs[blob] = whole
        await store.pull(name)

    pulling(tmp_path, scenario)


def test_a_layer_that_is_another_than_the_configuration_says(tmp_path):
    def prepare(registry):
        registry.add_image("1", BASE, packed=[gzip.compress(TOP)])

    async def scenario(registry, store, name):
        with pytest.raises(ImageError, match="unpacks to"):
            await store.pull(name)
        assert store.all() == []

    pulling(tmp_path, scenario, prepare)


REFUSED = {
    "no-such-tag": ("no-such-tag", "does not exist", True),
    "wasm": ("wasm", "can't be unpacked", False),
    "artifact": ("artifact", "not a container image", False),
    "ambiguous": ("ambiguous", "ambiguous", False),
    "disguised": ("disguised", "was announced as", False),
    "old": ("old", "schema 1", False),
    "foreign": ("foreign", "not made for linux/", True),
    "counts": ("counts", "1 layers and its configuration names 2", False),
}


@pytest.mark.parametrize(("tag", "why", "missing"), REFUSED.values(), ids=[*REFUSED])
def test_manifests_that_are_refused(tmp_path, tag, why, missing):
    def prepare(registry):
        good = json.loads(registry.manifests["1"][1])
        layer, config = good["layers"][0], good["config"]

        def add(tag, media_type=MANIFEST, **changes):
            registry.add_manifest(tag, media_type, {**good, **changes})

        add("wasm", layers=[{**layer, "mediaType": "application/wasm"}])
        add("artifact", config={**config, "mediaType": "application/vnd.cncf.helm.config.v1+json"})
        add("ambiguous", manifests=[])
        add("disguised", INDEX)
        add("old", schemaVersion=1)
        add("counts", layers=[layer])
        listed = [
            {**layer, "mediaType": MANIFEST, "platform": {"os": "linux", "architecture": "x"}}
        ]
        registry.add_manifest(
            "foreign", INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
        )

    async def scenario(registry, store, name):
        with pytest.raises(ImageError, match=why) as refused:
            await store.pull(f"{name.rpartition(':')[0]}:{tag}")
        assert refused.value.missing is missing
        assert store.all() == []

    pulling(tmp_path, scenario, prepare)


def test_a_manifest_that_is_not_its_digest_is_refused(tmp_path):
    async def scenario(registry, store, name):
        one = digest(registry.manifests["1"][1])
        registry.corrupt = {one}
        with pytest.raises(ImageError, match="sent a manifest that is not"):
            await store.pull(f"{name.rpartition(':')[0]}@{one}")

    pulling(tmp_path, scenario)


def test_secrets_do_not_follow_a_redirect(tmp_path):
    other = Registry()

    def prepare(registry):
        registry.user, registry.redirect = ("me", "secret"), other.host
        other.blobs = registry.blobs

    async def scenario(registry, store, name):
        await store.pull(name, (Credentials("me", "secret"),))
        assert len(other.asked) == 3
        assert all("authorization" not in headers for _, _, headers in other.asked)

    with other.running():
        pulling(tmp_path, scenario, prepare)


def test_nobody_answers(tmp_path):
    async def scenario(registry, store, name):
        with pytest.raises(ImageError, match="can't be reached") as silent:
            await store.pull("127.0.0.1:1/team/app:1")
        assert silent.value.unreachable

    pulling(tmp_path, scenario)


def test_pulls_of_one_name_share_a_job_and_the_last_to_leave_ends_it(tmp_path):
    def prepare(registry):
        registry.gate = threading.Event()

    async def scenario(registry, store, name):
        one, two = (asyncio.create_task(store.pull(name)) for _ in range(2))
        await until(lambda: registry.paths("blobs"))
        one.cancel()
        await asyncio.wait([one])
        assert one.cancelled()
        assert not two.done()
        registry.gate.set()
        assert await two == store.find(name)
        assert len(registry.paths("manifests")) == 1

    pulling(tmp_path, scenario, prepare)


def test_a_cancelled_pull_leaves_nothing(tmp_path):
    def prepare(registry):
        registry.break_after = 1

    async def scenario(registry, store, name):
        for steps in range(12):
            pull = asyncio.create_task(store.pull(name))
            await until(lambda pull=pull, steps=steps: len(registry.asked) >= steps or pull.done())
            pull.cancel()
            await asyncio.wait([pull])
            assert leftovers(tmp_path) == []
            registry.asked.clear()
        assert store.all() == []
        await store.collect(())
        assert content(tmp_path) == ([], [])
        registry.break_after = 0
        await store.pull(name)
        assert await store.verify() == []

    pulling(tmp_path, scenario, prepare)


def test_two_images_that_share_a_layer_fetch_it_once(tmp_path):
    def prepare(registry):
        registry.add_image("2", BASE, tar(entry("other")))

    async def scenario(registry, store, name):
        place = name.rpartition(":")[0]
        await asyncio.gather(store.pull(f"{place}:1"), store.pull(f"{place}:2"))
        shared = registry.paths("blobs")
        assert len(shared) == len(set(shared)) == 5

    pulling(tmp_path, scenario, prepare)


def test_folders_that_a_layer_only_goes_through_are_what_lower_layers_say(tmp_path):
    lower = tar(
        entry("srv", "folder", mode=0o750),
        entry("usr", "folder"),
        entry("usr/lib", "folder", mode=0o711),
        entry("lib", "symlink", target="usr/lib"),
    )
    upper = tar(entry("srv/www/index", data=b"hello"), entry("lib/x", data=b"in usr"))

    def prepare(registry):
        registry.add_image("1", lower, upper)
        registry.add_image("2", upper)

    async def scenario(registry, store, name):
        place = name.rpartition(":")[0]
        await store.pull(f"{place}:1")
        await store.pull(f"{place}:2")
        layers = (tmp_path / "images" / "layers").iterdir()
        found = [one / "root" for one in layers if (one / "root" / "usr" / "lib" / "x").exists()]
        assert len(found) == 1
        assert os.readlink(found[0] / "lib") == "usr/lib"
        assert (found[0] / "srv").stat().st_mode & 0o777 == 0o750
        assert (found[0] / "usr" / "lib").stat().st_mode & 0o777 == 0o711
        assert (found[0] / "srv" / "www").stat().st_mode & 0o777 == 0o755
        assert await store.verify() == []

    pulling(tmp_path, scenario, prepare)


def test_the_same_layer_twice(tmp_path):
    loose = tar(entry("a/b", data=b"x"))

    def prepare(registry):
        registry.add_image("1", BASE, loose, BASE, loose)

    async def scenario(registry, store, name):
        image = await store.pull(name)
        assert len(image.config["rootfs"]["diff_ids"]) == 4
        assert len(registry.paths("blobs")) == 3
        assert await store.verify() == []

    pulling(tmp_path, scenario, prepare)


def test_small_decisions():
    assert [*map(is_loopback, ("localhost:5000", "127.1.2.3", "[::1]:5000", "example.com"))] == [
        True, True, True, False,
    ]  # fmt: skip
    header = 'Basic realm="a", Bearer realm="https://t/x?y=\\"z",service=s,scope="a:b:pull,push"'
    assert parse_challenge(header) == (
        "bearer",
        {"realm": 'https://t/x?y="z', "service": "s", "scope": "a:b:pull,push"},
    )
    assert told(b'{"errors":[{"code":"X","message":"no"},{"code":"Y"}]}') == "no; Y"
    assert told(b"<html>") == told(b"[]") == told(b'"x"') == ""
    assert LAYER.endswith("gzip")
