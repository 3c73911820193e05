"""The contract of `Images`: the pretended and the real one pass every test here."""

from __future__ import annotations

import asyncio
import os

import pytest

from jindou.machine.images import Image, ImageError
from jindou.machine.images.pretend import PretendImages
from jindou.machine.images.store import ImageStore
from jindou.settings import Settings
from tests.machine.isolation import isolated, shell
from tests.machine.registry import Registry
from tests.machine.tars import entry, tar

ROOT = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


class Bench:
    """One machine's images, and a name that can be pulled."""

    def __init__(self, kind, folder):
        self.kind, self.settings, self.folder = kind, Settings(data=str(folder / "data")), folder

    def run(self, scenario):
        registry = Registry()
        registry.add_image("1", tar(entry("etc", "folder"), entry("etc/x", data=b"x" * 1000)))
        registry.add_image("2", tar(entry("other", data=b"y")))

        async def main():
            images = (
                PretendImages(self.settings)
                if self.kind == "pretend"
                else ImageStore(self.settings, pause=0.001)
            )
            try:
                await scenario(images, f"{registry.host}/team/app")
                for unit in [*images.units]:
                    await images.unmount(unit)
            finally:
                await images.close()

        with registry.running():
            asyncio.run(main())

    def alone(self, test):
        """What mounts runs in namespaces of its own."""

        def inside():
            shell("ip link set lo up")
            test(self)

        isolated(inside)() if self.kind == "store" else test(self)


@pytest.fixture(params=["pretend", pytest.param("store", marks=ROOT)])
def bench(request, tmp_path):
    return Bench(request.param, tmp_path)


async def steps(job):
    return [progress async for progress in job]


def test_pulled_images_are_found_by_name_and_digest(bench):
    async def scenario(images, name):
        assert images.find(f"{name}:1") is None
        assert images.all() == []
        reports = []
        image = await images.pull(f"{name}:1", (), reports.append)
        assert isinstance(image, Image)
        assert image.names == (f"{name}:1",)
        assert image.size > 0
        assert image.config["config"]["Cmd"] == ["sh"]
        assert reports
        assert all(0 <= one.done <= one.total or one.total == 0 for one in reports)
        for reference in (f"{name}:1", image.digest, f"{name}@{image.digest}"):
            assert images.find(reference) == image
        assert await images.pull(image.digest) == image
        assert images.all() == [image]
        with pytest.raises(ImageError, match="names no registry") as absent:
            await images.pull("sha256:" + "0" * 64)
        assert absent.value.missing
        with pytest.raises(ImageError) as absent:
            await images.pull(f"{name}:missing")
        assert absent.value.missing

    bench.run(scenario)


def test_names_that_are_none(bench):
    async def scenario(images, name):
        for bad in ("UPPER", "a b", "", "a:b:c", "x@sha256:short", "-a/b", "a//b", "a/../b"):
            with pytest.raises(ImageError) as invalid:
                images.find(bad)
            assert invalid.value.invalid
            with pytest.raises(ImageError) as invalid:
                await images.pull(bad)
            assert invalid.value.invalid

    bench.run(scenario)


def test_names_come_and_go_and_content_with_the_last(bench):
    async def scenario(images, name):
        image = await images.pull(f"{name}:1")
        await images.tag(f"{name}:1", "mine")
        assert {*images.find("mine").names} == {"docker.io/library/mine:latest", f"{name}:1"}
        await images.delete(f"{name}:1")
        assert images.find(f"{name}:1") is None
        assert images.find("mine").digest == image.digest
        await images.delete(image.digest)
        assert images.all() == []
        for job in (images.delete("mine"), images.tag("mine", "other")):
            with pytest.raises(ImageError) as absent:
                await job
            assert absent.value.missing

    bench.run(scenario)


def test_collecting_keeps_what_is_named_mounted_or_said_to_be_in_use(bench):
    bench.alone(collecting)


def collecting(bench):
    async def scenario(images, name):
        one = await images.pull(f"{name}:1")
        two = await images.pull(f"{name}:2")
        await images.mount(one.digest, "unit")
        await images.tag(f"{name}:2", f"{name}:1")
        assert await images.collect(()) == 0
        assert {image.digest for image in images.all()} == {one.digest, two.digest}
        await images.delete(f"{name}:1")
        await images.delete(f"{name}:2")
        await images.unmount("unit")
        assert await images.collect([one.digest]) == 0
        assert images.find(one.digest)
        assert await images.collect(()) > 0
        assert images.all() == []

    bench.run(scenario)


def test_roots(bench):
    bench.alone(roots)


def roots(bench):
    async def scenario(images, name):
        image = await images.pull(f"{name}:1")
        one, two = await images.mount(image.digest, "one"), await images.mount(image.digest, "two")
        assert one != two
        (one / "mine").write_text("z" * 10_000)
        assert await images.mount(image.digest, "one") == one
        assert (one / "mine").exists()
        assert not (two / "mine").exists()
        assert await images.usage("one") >= 10_000 > await images.usage("two")
        assert {*images.units} == {"one", "two"}
        await images.unmount("one")
        await images.unmount("one")
        assert {*images.units} == {"two"}
        assert await images.usage("one") == 0
        assert not (await images.mount(image.digest, "one") / "mine").exists()
        with pytest.raises(ImageError, match=r"is not here|no image .* here"):
            await images.mount("sha256:" + "0" * 64, "three")
        for bad in ("../x", "", ".", "a/b"):
            with pytest.raises(ImageError, match="is not the name of a unit"):
                await images.mount(image.digest, bad)

    bench.run(scenario)


def test_archives(bench):
    async def scenario(images, name):
        image = await images.pull(f"{name}:1")
        for form in ("oci", "docker"):
            path = bench.folder / f"{form}.tar"
            assert await steps(images.save(f"{name}:1", path, form))
            await images.delete(image.digest)
            assert images.all() == []
            loaded = await steps(images.load(path))
            again = images.find(loaded[-1].detail)
            assert again.names == image.names
            assert again.config == image.config
            await images.tag(f"{name}:1", f"{name}:1")
        with pytest.raises(ImageError, match="no such file"):
            await steps(images.load(bench.folder / "absent.tar"))
        with pytest.raises(ImageError, match="not a form of archive"):
            await steps(images.save(f"{name}:1", bench.folder / "x.tar", "zip"))
        assert {*os.listdir(bench.folder)} - {"data"} == {"docker.tar", "oci.tar"}

    bench.run(scenario)


def test_images_from_packages(bench):
    async def scenario(images, name):
        seen = await steps(images.bootstrap("busybox"))
        assert seen[-1].done == seen[-1].total > 0
        image = images.find("busybox")
        assert image.names == ("docker.io/library/busybox:latest",)
        assert image.config["config"]["Cmd"] == ["sh"]
        assert await steps(images.bootstrap("docker.io/library/busybox:latest"))
        assert images.find("busybox").digest == image.digest
        with pytest.raises(ImageError, match="no recipe"):
            await steps(images.bootstrap("solaris"))

    bench.run(scenario)
