"""Archives: what skopeo reads and writes, and what is refused."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
import subprocess
from contextlib import asynccontextmanager

import pytest
import zstandard

from jindou.machine.images import ImageError
from jindou.machine.images.store import ImageStore
from jindou.machine.images.transfer.archives import layout_names
from jindou.settings import Settings
from tests.machine.registry import digest
from tests.machine.tars import entry, tar

BASE = tar(entry("etc", "folder"), entry("etc/os", data=b"base" * 1000))
TOP = tar(entry("app", "folder"), entry("app/run", data=os.urandom(100_000)))


def docker_archive(name, *layers, changes=None, more=()):
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
    }
    listing = {
        "Config": "config.json",
        "RepoTags": [name] if name else None,
        "Layers": [f"{number}/layer.tar" for number in range(len(layers))],
        **(changes or {}),
    }
    return tar(
        entry("config.json", data=json.dumps(config).encode()),
        *(entry(f"{number}/layer.tar", data=layer) for number, layer in enumerate(layers)),
        entry("manifest.json", data=json.dumps([listing]).encode()),
        *more,
    )


@asynccontextmanager
async def opened(folder):
    store = ImageStore(Settings(data=str(folder)))
    try:
        yield store
    finally:
        await store.close()


def run(folder, scenario):
    async def main():
        async with opened(folder / "data") as store:
            await scenario(store)
            assert os.listdir(folder / "data" / "images" / "work") == []

    asyncio.run(main())


async def steps(job):
    return [progress async for progress in job]


def skopeo(*words):
    done = subprocess.run(["skopeo", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")


@needs_skopeo
@pytest.mark.slow
def test_skopeo_reads_what_we_write_and_we_what_it_writes(tmp_path):
    async def scenario(store):
        archive = tmp_path / "in.tar"
        archive.write_bytes(docker_archive("app:1", BASE, TOP))
        await steps(store.load(archive))
        image = store.find("app:1")
        for form in ("docker", "oci"):
            ours = tmp_path / f"ours-{form}.tar"
            await steps(store.save("app:1", ours, form))
            config = skopeo("inspect", "--config", "--raw", f"{form}-archive:{ours}")
            assert json.loads(config) == image.config
            theirs = tmp_path / f"theirs-{form}.tar"
            skopeo("copy", f"{form}-archive:{ours}", f"oci-archive:{theirs}:copied:{form}")
            skopeo("copy", f"{form}-archive:{ours}", f"docker-archive:{theirs}.d:copied-d:{form}")
            for path, name in ((theirs, f"copied:{form}"), (f"{theirs}.d", f"copied-d:{form}")):
                loaded = await steps(store.load(tmp_path / path))
                assert loaded[-1].detail == f"docker.io/library/{name}"
                assert store.find(name).config["rootfs"] == image.config["rootfs"]
        digests = set(os.listdir(tmp_path / "data" / "images" / "layers"))
        assert digests == {digest(BASE)[7:], digest(TOP)[7:]}
        assert await store.verify() == []

    run(tmp_path, scenario)


@needs_skopeo
@pytest.mark.slow
def test_a_layout_keeps_the_digest(tmp_path):
    async def scenario(store):
        archive = tmp_path / "in.tar"
        archive.write_bytes(docker_archive("app:1", BASE))
        await steps(store.load(archive))
        image = store.find("app:1")
        await steps(store.save(image.digest, tmp_path / "out.tar"))
        said = json.loads(skopeo("inspect", f"oci-archive:{tmp_path / 'out.tar'}"))
        assert said["Digest"] == image.digest
        await store.delete(image.digest)
        await steps(store.load(tmp_path / "out.tar"))
        assert store.find("app:1") == image

    run(tmp_path, scenario)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_packed_archives_and_several_images(tmp_path, pack):
    async def scenario(store):
        archive = tmp_path / "in.tar"
        archive.write_bytes(pack(docker_archive("app:1", BASE, TOP)))
        loaded = await steps(store.load(archive))
        assert loaded[0].done <= loaded[0].total == archive.stat().st_size
        assert store.find("app:1").config["config"]["Env"] == ["A=b"]

    run(tmp_path, scenario)


def test_layers_that_are_links_and_an_image_without_a_name(tmp_path):
    async def scenario(store):
        archive = tmp_path / "in.tar"
        changes = {"Layers": ["a/layer.tar"]}
        more = [entry("a/layer.tar", "symlink", target="../0/layer.tar")]
        archive.write_bytes(docker_archive("", BASE, changes=changes, more=more))
        loaded = await steps(store.load(archive))
        assert store.find(loaded[-1].detail).names == ()
        await store.collect(())
        assert store.all() == []

    run(tmp_path, scenario)


REFUSED = {
    "nothing": (tar(entry("x")), "holds no images"),
    "no tar": (b"x" * 2000, "can't be read"),
    "cut": (docker_archive("app:1", BASE)[:3000], "can't be read"),
    "no layer": (
        docker_archive("app:1", BASE, changes={"Layers": ["gone.tar"]}),
        "has no gone.tar",
    ),
    "counts": (docker_archive("app:1", BASE, changes={"Layers": []}), "has 0 layers"),
    "outside": (
        docker_archive("app:1", BASE, changes={"Config": "../../etc/passwd"}),
        "has no ../../etc/passwd",
    ),
    "another layer": (
        docker_archive(
            "app:1", BASE, changes={"Layers": ["b.tar"]}, more=[entry("b.tar", data=TOP)]
        ),
        "is damaged: it unpacks to",
    ),
    "bad name": (docker_archive("UPPER CASE", BASE), "not an image name"),
    "link loop": (
        docker_archive(
            "app:1",
            BASE,
            changes={"Layers": ["l"]},
            more=[entry("l", "symlink", target="l")],
        ),
        "has no l",
    ),
    "no list": (tar(entry("manifest.json", data=b"{}")), "lists no images"),
    "no json": (tar(entry("manifest.json", data=b"{")), "not JSON"),
    "no texts": (tar(entry("manifest.json", data=b'[{"Layers":[1]}]')), "not valid"),
    "layout without image": (
        tar(entry("oci-layout"), entry("index.json", data=b'{"manifests":[]}')),
        "no image for this machine",
    ),
    "layout with a lie": (
        tar(
            entry("oci-layout"),
            entry(
                "index.json",
                data=json.dumps(
                    {"manifests": [{"digest": "sha256:" + "0" * 64, "size": 2}]}
                ).encode(),
            ),
            entry("blobs/sha256/" + "0" * 64, data=b"{}"),
        ),
        "is not what it should be",
    ),
}


@pytest.mark.parametrize(("data", "why"), REFUSED.values(), ids=[*REFUSED])
def test_what_is_refused_leaves_nothing(tmp_path, data, why):
    async def scenario(store):
        archive = tmp_path / "in.tar"
        archive.write_bytes(data)
        with pytest.raises(ImageError, match=why):
            await steps(store.load(archive))
        assert store.all() == []

    run(tmp_path, scenario)


def test_an_archive_appears_when_it_is_whole(tmp_path):
    async def scenario(store):
        archive = tmp_path / "in.tar"
        archive.write_bytes(docker_archive("app:1", BASE, TOP))
        await steps(store.load(archive))
        with pytest.raises(ImageError, match="no image 'other' here"):
            await steps(store.save("other", tmp_path / "out.tar"))
        with pytest.raises(ImageError, match="can't be written"):
            await steps(store.save("app:1", tmp_path / "absent" / "out.tar"))
        job = store.save("app:1", tmp_path / "out.tar", "docker")
        async for _ in job:
            break
        await job.aclose()
        assert sorted(os.listdir(tmp_path)) in (
            ["data", "in.tar"],
            ["data", "in.tar", "out.tar"],
        )

    run(tmp_path, scenario)


def test_names_in_a_layout():
    assert layout_names("docker.io/library/app:1") == ["docker.io/library/app:1"]
    assert layout_names("app:1") == ["docker.io/library/app:1"]
    for none in ("latest", "1.27", "", None, 7, "Not A Name"):
        assert layout_names(none) == []
