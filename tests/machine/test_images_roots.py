"""Images on disk and mounted: overlayfs really merges them, and what crashes leave is put right."""

from __future__ import annotations

import asyncio
import io
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jindou.machine.images import ImageError
from jindou.machine.images.content.contents import read_index
from jindou.machine.images.store import ImageStore
from jindou.machine.linux import mounts
from jindou.settings import Settings
from tests.machine.isolation import isolated, shell
from tests.machine.tars import entry, tar
from tests.machine.test_images_archives import docker_archive

BASE = tar(
    entry(".", "folder", mode=0o711),
    entry("etc", "folder"),
    entry("etc/a", data=b"base"),
    entry("etc/b", data=b"base"),
    entry("var", "folder", mode=0o1777, uid=3),
    entry("var/x", data=b"x"),
)
TOP = tar(
    entry("etc", "folder"),
    entry("etc/.wh.a"),
    entry("etc/c", data=b"top"),
    entry("var", "folder", mode=0o700),
    entry("var/.wh..wh..opq"),
    entry("var/y", data=b"y"),
)


@asynccontextmanager
async def opened(folder, **options):
    store = ImageStore(Settings(data=str(folder)), **options)
    try:
        yield store
    finally:
        await store.close()


async def load(store, folder, *layers, name="app:1"):
    path = folder / "archive.tar"
    path.write_bytes(docker_archive(name, *layers))
    async for _ in store.load(path):
        pass
    return store.find(name)


@pytest.mark.parametrize("awkward", [False, True])
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_overlayfs_merges_what_the_layers_say(tmp_path, awkward):
    folder = tmp_path / ("a,b:c\\d" if awkward else "plain")

    @isolated
    def check():
        async def scenario():
            async with opened(folder) as store:
                image = await load(store, tmp_path, BASE, TOP)
                place = await store.mount(image.digest, "u")
                assert shell(f"findmnt -no OPTIONS {shlex.quote(str(place))}").count("volatile")
                assert sorted(os.listdir(place / "etc")) == ["b", "c"]
                assert sorted(os.listdir(place / "var")) == ["y"]
                assert stat.S_IMODE(place.stat().st_mode) == 0o711
                assert stat.S_IMODE((place / "var").stat().st_mode) == 0o700
                (place / "etc" / "b").write_text("mine")
                await store.unmount("u")
                layers = folder / "images" / "layers"
                texts = {path.read_text() for path in layers.glob("*/root/etc/b")}
                assert texts == {"base"}
                assert os.listdir(folder / "units") == []

        asyncio.run(scenario())

    check()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@isolated
def test_more_layers_than_fit_into_a_page_and_some_of_them_twice(tmp_path):
    async def scenario():
        layers = [tar(entry(f"f{n}", data=b"x")) for n in range(100)]
        async with opened(tmp_path / ("d" * 60)) as store:
            image = await load(store, tmp_path, *layers, layers[0], layers[50])
            place = await store.mount(image.digest, "u")
            assert len(os.listdir(place)) == 100
            await store.unmount("u")

    asyncio.run(scenario())


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@isolated
def test_a_store_that_opens_again_knows_its_units_and_their_images(tmp_path):
    async def scenario():
        data = tmp_path / "data"
        async with opened(data) as store:
            image = await load(store, tmp_path, BASE, TOP)
            place = await store.mount(image.digest, "runs")
            (place / "mine").write_text("kept")
            await store.mount(image.digest, "nested")
            (data / "units" / "nested" / "root" / "m").mkdir()
            mounts.mount("tmpfs", data / "units" / "nested" / "root" / "m", "tmpfs")
            await store.mount(image.digest, "rebooted")
        note = data / "units" / "rebooted" / "image.json"
        note.write_text(note.read_text().replace('boot":"', 'boot":"other'))
        (data / "units" / "half").mkdir()
        async with opened(data) as store:
            assert store.problems == []
            assert {*store.units} == {"runs", "nested"}
            assert sorted(os.listdir(data / "units")) == ["nested", "runs"]
            assert await store.mount(image.digest, "runs") == place
            assert (place / "mine").read_text() == "kept"
            await store.delete("app:1")
            assert await store.collect(()) == 0
            assert store.find("app:1") is None
            assert store.find(image.digest)
            mounts.unmount(place)
            assert not (await store.mount(image.digest, "runs") / "mine").exists()
            await store.unmount("runs")
            await store.unmount("nested")
            assert await store.collect(()) > 0
            assert store.all() == []
            assert not os.path.ismount(place)
        assert os.listdir(data / "units") == os.listdir(data / "images" / "work") == []

    asyncio.run(scenario())


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@isolated
def test_many_units_at_once(tmp_path):
    async def scenario():
        async with opened(tmp_path / "data") as store:
            image = await load(store, tmp_path, BASE, TOP)
            names = [f"u{number}" for number in range(60)]
            roots = await asyncio.gather(*(store.mount(image.digest, name) for name in names))
            assert len(set(roots)) == len(store.units) == 60
            await asyncio.gather(*(store.usage(name) for name in names))
            await asyncio.gather(*map(store.unmount, names))
            assert store.units == {}
            assert os.listdir(tmp_path / "data" / "units") == []

    asyncio.run(scenario())


@pytest.mark.guarantee(28)
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@isolated
def test_collecting_while_units_come_and_go(tmp_path):
    """An image without a name is whole for every unit that gets it, or not there at all."""

    async def scenario():
        async with opened(tmp_path / "data") as store:
            mounted = 0
            await load(store, tmp_path, BASE, name="base:1")
            for turn in range(24):
                image = await load(store, tmp_path, BASE, tar(entry(f"f{turn}", data=b"x")))
                await store.tag("base:1", "app:1")
                mounting = asyncio.create_task(store.mount(image.digest, "u"))
                for _ in range(turn % 4):
                    await asyncio.sleep(0)
                await store.collect(())
                (place,) = await asyncio.gather(mounting, return_exceptions=True)
                if isinstance(place, ImageError):
                    assert place.missing
                    continue
                mounted += 1
                assert sorted(os.listdir(place)) == ["etc", f"f{turn}", "var"]
                assert (place / f"f{turn}").read_text() == "x"
                await store.unmount("u")
            assert mounted
            assert await store.verify() == []

    asyncio.run(scenario())


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@isolated
def test_a_cancelled_mount_is_over_when_it_returns(tmp_path):
    async def scenario():
        async with opened(tmp_path / "data") as store:
            image = await load(store, tmp_path, BASE)
            for turns in range(6):
                mounting = asyncio.create_task(store.mount(image.digest, "u"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                mounting.cancel()
                await asyncio.wait([mounting])
                await store.unmount("u")
                assert os.listdir(tmp_path / "data" / "units") == []

    asyncio.run(scenario())


WITHOUT_ROOT = """
import asyncio, os, sys
from pathlib import Path
from jindou.machine.images.store import ImageStore
from jindou.settings import Settings

async def main():
    store = ImageStore(Settings(data=sys.argv[1]))
    async for progress in store.load(Path(sys.argv[2])):
        pass
    root = await store.mount(store.find("app:1").digest, "u")
    print(sorted(os.listdir(root / "etc")), sorted(os.listdir(root / "var")))
    await store.unmount("u")
    await store.close()

asyncio.run(main())
"""


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
@pytest.mark.skipif(
    not all(
        parent.stat().st_mode & 0o001
        for path in (Path(sys.executable), Path(__file__))
        for parent in path.absolute().parents
    ),
    reason="needs a checkout that other users may enter",
)
def test_in_a_user_namespace_without_root(tmp_path):
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "archive.tar").write_bytes(
            docker_archive("app:1", *map(without_owners, (BASE, TOP)))
        )
        os.chown(home, 12345, 12345)
        (home / "archive.tar").chmod(0o644)
        words = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "unshare", "-Urm"]
        said = subprocess.run(
            [*words, sys.executable, "-c", WITHOUT_ROOT, home / "data", home / "archive.tar"],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert said.stdout == "['b', 'c'] ['y']\n", said.stderr


def without_owners(layer):
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        made = [(info, archive.extractfile(info)) for info in archive]
        for info, _ in made:
            info.uid = info.gid = 0
        return tar(*((info, file.read() if file else b"") for info, file in made))


@pytest.mark.guarantee(28)
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("size", [100, 1000])
def test_a_full_disk_is_said_and_nothing_stays(tmp_path, size):
    """Too small for a packed layer; and with room for it, but not for what must stay free."""

    @isolated
    def check():
        data = tmp_path / "data"
        data.mkdir()
        mounts.mount("tmpfs", data, "tmpfs", data=f"size={size}k")

        async def scenario():
            async with opened(data) as store:
                with pytest.raises(ImageError, match=r"disk.* is full"):
                    await load(store, tmp_path, BASE, tar(entry("big", data=os.urandom(300_000))))
                assert store.all() == []
                await store.collect(())
                assert await store.verify() == []
            assert os.listdir(data / "images" / "work") == []
            assert os.listdir(data / "images" / "blobs" / "sha256") == []

        asyncio.run(scenario())

    check()


def test_one_store_at_a_time(tmp_path):
    async def scenario():
        async with opened(tmp_path):
            with pytest.raises(ImageError, match="in use by another process"):
                ImageStore(Settings(data=str(tmp_path)))

    asyncio.run(scenario())


@pytest.mark.guarantee(28)
def test_damage_is_found(tmp_path):
    async def scenario():
        data = tmp_path / "data"
        async with opened(data) as store:
            image = await load(store, tmp_path, BASE, TOP)
            assert await store.verify() == []
            blob = max((data / "images" / "blobs" / "sha256").iterdir(), key=os.path.getsize)
            whole = blob.read_bytes()
            blob.write_bytes(whole[:-1] + b"x")
            (found,) = await store.verify()
            assert "is damaged: needed by docker.io/library/app:1" in found
            blob.write_bytes(whole)
            config = store._contents.record(image.digest).config
            store._contents._images.clear()
            (data / "images" / "blobs" / config.replace(":", "/")).write_bytes(b"{}")
            assert store.find("app:1") is None
            assert store.all() == []
            await load(store, tmp_path, BASE, TOP)
            assert store.find("app:1") == image
            assert await store.verify() == []

    asyncio.run(scenario())


def test_an_index_that_cannot_be_read_is_replaced_by_the_one_before(tmp_path):
    async def scenario():
        data = tmp_path / "data"
        index = data / "images" / "index.json"
        async with opened(data) as store:
            await load(store, tmp_path, BASE)
            await store.tag("app:1", "second")
        good = index.read_bytes()
        for bad in (b"", b"{", good.replace(b"second", b"secund"), b'{"v":2}'):
            index.write_bytes(bad)
            with pytest.raises(ValueError):
                read_index(bad)
            async with opened(data) as store:
                assert any("is damaged" in text for text in store.problems)
                assert store.find("app:1")
                assert index.with_name("index.json.damaged").exists()
                await store.tag("app:1", "second")

    asyncio.run(scenario())


def test_an_image_that_lost_a_part_is_not_there(tmp_path):
    async def scenario():
        data = tmp_path / "data"
        async with opened(data) as store:
            await load(store, tmp_path, BASE, TOP)
            await load(store, tmp_path, BASE, name="base:1")
            (top,) = (
                path
                for path in (data / "images" / "layers").iterdir()
                if (path / "root" / "var" / "y").exists()
            )
        os.rename(top, tmp_path / "gone")
        async with opened(data) as store:
            assert store.problems == [
                "docker.io/library/app:1 has lost a part on disk and must be got again"
            ]
            assert store.find("app:1") is None
            assert store.find("base:1")
            await load(store, tmp_path, BASE, TOP)
            assert store.find("app:1")
            assert await store.verify() == store.problems

    asyncio.run(scenario())


LOADER = """
import asyncio, sys
from pathlib import Path
from jindou.machine.images.store import ImageStore
from jindou.settings import Settings

async def main():
    store = ImageStore(Settings(data=sys.argv[1]))
    print("open", flush=True)
    async for progress in store.load(Path(sys.argv[2])):
        pass
    print("done", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


@pytest.mark.guarantee(28)
@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_store_whole(tmp_path):
    """Each round kills a loading process a little later, and the next opening finds all in order."""
    archive = tmp_path / "archive.tar"
    files = [entry(f"d{n // 50}/f{n}", data=os.urandom(2000)) for n in range(800)]
    folders = [entry(f"d{n}", "folder") for n in range(16)]
    archive.write_bytes(docker_archive("app:1", BASE, tar(*folders, *files)))
    data = tmp_path / "data"
    moments = [0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.17, 0.22]
    outcomes = []
    for moment in moments:
        child = subprocess.Popen(
            [sys.executable, "-c", LOADER, data, archive],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": "src"},
        )
        with child:
            assert child.stdout.readline() == b"open\n"
            try:
                child.wait(moment)
            except subprocess.TimeoutExpired:
                child.kill()
            child.wait()

        async def check():
            async with opened(data) as store:
                assert store.problems == []
                assert await store.verify() == []
                image = store.find("app:1")
                outcomes.append(image is not None)
                if image is None:
                    assert os.listdir(data / "images" / "layers") == []
                else:
                    await store.delete("app:1")
                assert os.listdir(data / "images" / "blobs" / "sha256") == []
            assert os.listdir(data / "images" / "work") == []

        asyncio.run(check())
    assert not outcomes[0]
