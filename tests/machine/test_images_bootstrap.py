"""Images from packages: busybox always, Debian and what stands on it where root and time allow."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from jindou.machine.images import ImageError
from jindou.machine.images.making import packages
from jindou.machine.images.making.bootstrap import mark_of, recipe_name
from jindou.machine.images.making.busybox import is_here, is_static
from jindou.machine.images.making.diff import write_diff
from jindou.machine.images.making.packages import (
    Meter,
    choose_suite,
    parse_release,
    read_sources,
    render,
)
from jindou.machine.images.making.recipes import RECIPES
from jindou.machine.images.store import ImageStore
from jindou.machine.images.unpacking.unpack import unpack
from jindou.settings import Settings
from tests.machine.isolation import isolated, shell
from tests.machine.tars import entry, pieces, tar
from tests.machine.test_images_unpack import spread

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def inside(root, command):
    path = "PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"
    return shell(f"{path} chroot {root} /bin/sh -ec {shlex.quote(command)}")


@pytest.mark.root
@needs_root
@pytest.mark.skipif(not is_here(), reason="needs busybox-static")
@isolated
def test_busybox_runs(tmp_path):
    async def scenario():
        store = ImageStore(Settings(data=str(tmp_path)))
        try:
            async for _ in store.bootstrap("busybox"):
                pass
            first = store.find("busybox")
            root = await store.mount(first.digest, "u")
            assert inside(root, "id -un; awk 'BEGIN { print 6*7 }'; ls -d /tmp").split() == [
                "root",
                "42",
                "/tmp",
            ]
            await store.unmount("u")
            async for _ in store.bootstrap("busybox", force=True):
                pass
            assert store.find("busybox") == first
        finally:
            await store.close()

    asyncio.run(scenario())


@pytest.mark.skipif(not is_here(), reason="needs busybox-static")
def test_what_is_static():
    assert not is_static(b"#!/bin/sh")
    assert not is_static(Path(shutil.which("sh")).read_bytes())
    assert is_static(Path("/bin/busybox").read_bytes())


def test_recipe_names():
    assert recipe_name("docker.io/library/nginx:latest") == "nginx"
    assert recipe_name("redis") == "redis"
    for none in ("nginx:1.27", "team/redis", "example.com/redis"):
        with pytest.raises(ImageError, match="there is no recipe"):
            recipe_name(none)
    assert {recipe.base for recipe in RECIPES.values()} <= {"", "debian"}


def test_a_recipe_that_changed_is_made_anew():
    recipe = RECIPES["nginx"]
    marks = {
        mark_of(recipe, "sha256:a", "bookworm"),
        mark_of(recipe, "sha256:b", "bookworm"),
        mark_of(recipe, "sha256:a", "trixie"),
        mark_of(RECIPES["redis"], "sha256:a", "bookworm"),
    }
    assert len(marks) == 4
    assert mark_of(recipe, "sha256:a", "bookworm") in marks


ONE_LINE = """# comment
deb http://deb.debian.org/debian bookworm main contrib # more
deb [signed-by=/k.gpg arch=amd64] https://mirror.example/debian bookworm-updates main
deb-src http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian trixie main
deb file:/media/cd bookworm main
deb https://packages.example/tool stable main
"""
STANZAS = """Types: deb deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

# another
Types: deb
URIs: http://security.debian.org/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: https://inline.example
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----

Types: deb
Enabled: no
URIs: https://off.example
Suites: bookworm
Components: main
"""


def test_where_this_machines_packages_come_from():
    assert read_sources("a.list", ONE_LINE, "bookworm") == [
        "deb http://deb.debian.org/debian bookworm main contrib",
        "deb [signed-by=/k.gpg arch=amd64] https://mirror.example/debian bookworm-updates main",
    ]
    key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert read_sources("a.sources", STANZAS, "bookworm") == [
        f"deb {key} http://deb.debian.org/debian bookworm main",
        f"deb {key} http://deb.debian.org/debian bookworm-updates main",
        "deb http://security.debian.org/debian-security bookworm-security main",
    ]
    assert read_sources("a.list.disabled", ONE_LINE, "bookworm") == []


def test_which_release():
    debian = parse_release('ID=debian\nVERSION_CODENAME=bookworm\nNAME="x y"\n# c\n')
    assert debian["NAME"] == "x y"
    assert choose_suite(debian, {"sources.list": ""}, True) == ("bookworm", ())
    ubuntu = {"ID": "ubuntu", "VERSION_CODENAME": "noble"}
    assert choose_suite(ubuntu, {}, True) == ("stable", ())
    assert choose_suite(ubuntu, {}, False).name == "noble"
    assert choose_suite({}, {}, False) == ("stable", ())


def test_progress_is_read_from_what_apt_says():
    meter = Meter()
    said = """Get:1 http://deb.debian.org/debian bookworm InRelease [151 kB]
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://deb.debian.org/debian bookworm/main amd64 libc6 amd64 2.36-9 [2759 kB]
Get:2 http://deb.debian.org/debian bookworm/main amd64 nginx amd64 1.22.1 [500 kB]
Selecting previously unselected package libc6:amd64.
Unpacking libc6:amd64 (2.36-9) ...
Unpacking nginx (1.22.1) ...
Setting up libc6:amd64 (2.36-9) ...
Setting up nginx (1.22.1) ...
E: Unable to locate package x
"""
    seen = [found for line in said.splitlines() if (found := meter.read(line))]
    assert [(one.done, one.total, one.detail) for one in seen] == [
        (0, 6, "2"), (1, 6, "libc6"), (2, 6, "nginx"), (3, 6, "libc6"), (4, 6, "nginx"),
        (5, 6, "libc6"), (6, 6, "nginx"),
    ]  # fmt: skip
    assert meter.errors == ["E: Unable to locate package x"]


def test_the_script_names_every_part_of_a_recipe():
    script = render(RECIPES["redis"], [Path("/low"), Path("/high")], Path("/w x"))
    assert "lowerdir=/high:/low,upperdir=/w x/upper" in script
    assert "useradd --system --uid 999" in script
    assert (
        "install -D -m 755 '/w x/files/0' '/w x/root'/usr/local/bin/docker-entrypoint.sh" in script
    )
    assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0


@pytest.mark.root
@needs_root
def test_a_program_that_fails_says_why(tmp_path):
    async def scenario():
        told = []
        words = (*packages.CONFINED, "sh", "-c", "echo 'E: no such mirror' >&2; exit 3")
        with pytest.raises(ImageError, match="no such mirror"):
            await packages.watch(words, {}, told.append)
        running = asyncio.create_task(
            packages.watch(
                (*packages.CONFINED, "sh", "-c", f"echo > {tmp_path}/on; sleep 1000"),
                {},
                told.append,
            )
        )
        async with asyncio.timeout(10):
            while not (tmp_path / "on").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.wait([running], timeout=10)
        assert running.cancelled()

    asyncio.run(scenario())


def test_changes_become_a_layer_and_a_layer_the_same_changes(tmp_path):
    made = (
        entry(".", "folder"),
        entry("a", "folder"),
        entry("a/.wh.gone"),
        entry("a/file", data=b"one"),
        entry("a/long-" + "n" * 200, data=b"two"),
        entry("b", "folder"),
        entry("b/.wh..wh..opq"),
        entry("b/link", "symlink", target="../a/file"),
        entry("b/same", "link", target="a/file"),
    )
    one, two, again = tmp_path / "one", tmp_path / "two", tmp_path / "again"
    for folder in (one, two):
        folder.mkdir()
    unpack(pieces(tar(*made)), one)
    with open(again, "w+b") as file:
        write_diff(one, file)
        first = again.read_bytes()
        unpack(pieces(first), two)
    assert spread(two) == spread(one)
    assert (two / "b" / "same").samefile(two / "a" / "file")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A data folder with all recipes made, from this machine's package mirror."""
    folder = tmp_path_factory.mktemp("images")

    async def make():
        store = ImageStore(Settings(data=str(folder)))
        try:
            for name in ("python", "redis", "nginx", "debian"):
                async for _ in store.bootstrap(name):
                    pass
        finally:
            await store.close()

    asyncio.run(make())
    yield folder
    shutil.rmtree(folder)


CHECKS = {
    "debian": "test -e /etc/debian_version && dpkg -l apt >/dev/null && test ! -e /etc/resolv.conf",
    "python": "python -c 'import html, http.server, socket, ssl; print(1)'",
    "redis": "redis-server --version && test $(id -u redis) = 999 && docker-entrypoint.sh true && test -d /data",
    "nginx": "nginx -t && test $(id -u nginx) = 101 && test -L /var/log/nginx/access.log",
}


@pytest.mark.root
@pytest.mark.slow
@needs_root
@pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap and a mirror")
def test_images_of_packages_share_their_base_and_work(made_once):
    @isolated
    def check():
        async def scenario():
            store = ImageStore(Settings(data=str(made_once)))
            try:
                base = store.find("debian").config["rootfs"]["diff_ids"]
                for name, command in CHECKS.items():
                    image = store.find(name)
                    assert image.config["rootfs"]["diff_ids"][:1] == base
                    root = await store.mount(image.digest, name)
                    shell(f"mount -t proc proc {root}/proc")
                    inside(root, command)
                    await store.unmount(name)
                assert len(os.listdir(made_once / "images" / "layers")) == 4
                seen = [one async for one in store.bootstrap("nginx")]
                assert [one.step for one in seen] == ["here already"]
                assert await store.verify() == []
            finally:
                await store.close()
            assert os.listdir(made_once / "images" / "work") == []

        asyncio.run(scenario())

    check()
