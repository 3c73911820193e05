"""Volumes of the machine: published files, pinned paths, owners, sizes. Attackers write into them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import stat
import threading
from pathlib import Path

import pytest

from jindou.machine.volumes import File, VolumesError
from jindou.machine.volumes.local import LocalVolumes
from jindou.machine.volumes.pretend import PretendVolumes
from jindou.machine.volumes.publishing import publish
from jindou.machine.volumes.trees import is_mounted
from tests.machine.isolation import isolated

drivers = pytest.mark.parametrize(
    "driver", [LocalVolumes(), PretendVolumes()], ids=["local", "pretend"]
)


def mode(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def held(folder) -> dict[str, bytes]:
    found = {}
    for entry in os.scandir(folder):
        if entry.name.startswith(".."):
            continue
        if entry.is_file():
            found[entry.name] = Path(entry.path).read_bytes()
        for place, _, names in os.walk(entry.path):
            for name in names:
                file = Path(place, name)
                found[str(file.relative_to(folder))] = file.read_bytes()
    return found


@drivers
def test_files_are_published_changed_and_taken_away(tmp_path, driver):
    volume = tmp_path / "v"
    assert driver.publish(volume, {"a": File(b"1", 0o600), "d/e/f": File(b"2", 0o444)})
    assert held(volume) == {"a": b"1", "d/e/f": b"2"}
    assert (mode(volume / "a"), mode(volume / "d/e/f"), mode(volume / "d")) == (0o600, 0o444, 0o755)
    assert os.readlink(volume / "a") == "..data/a"
    first = os.readlink(volume / "..data")
    assert not driver.publish(volume, {"a": File(b"1", 0o600), "d/e/f": File(b"2", 0o444)})
    assert os.readlink(volume / "..data") == first
    assert driver.publish(volume, {"a": File(b"3"), "g": File(b"")})
    assert held(volume) == {"a": b"3", "g": b""}
    assert sorted(os.listdir(volume)) == sorted(
        ["..data", os.readlink(volume / "..data"), "a", "g"]
    )
    assert driver.publish(volume, {})
    assert held(volume) == {}


@drivers
def test_publishing_goes_on_after_it_was_cut_off_anywhere(tmp_path, driver):
    volume = tmp_path / "v"
    driver.publish(volume, {"a": File(b"1")})
    os.symlink("nowhere", volume / "..data_tmp")
    (volume / "..2020_half").mkdir()
    os.unlink(volume / "a")
    (volume / "stray").mkdir()
    assert not driver.publish(volume, {"a": File(b"1")})
    assert held(volume) == {"a": b"1"}
    assert driver.publish(volume, {"a": File(b"2")})
    assert sorted(os.listdir(volume)) == sorted(["..data", os.readlink(volume / "..data"), "a"])


@pytest.mark.slow
def test_readers_see_one_state_or_the_other_never_a_mixture(tmp_path):
    volume = tmp_path / "v"
    publish(volume, {"a": File(b"0"), "b": File(b"0")})
    mixed, done = [], threading.Event()

    def read():
        while not done.is_set():
            try:
                folder = os.open(volume / "..data", os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # between reading the link and following it, that state has gone
            try:
                pair = []
                for name in ("a", "b"):
                    file = os.open(name, os.O_RDONLY, dir_fd=folder)
                    pair.append(os.read(file, 10))
                    os.close(file)
                if pair[0] != pair[1]:
                    mixed.append(pair)
            except FileNotFoundError:
                pass  # its folder has just been taken away whole
            finally:
                os.close(folder)

    thread = threading.Thread(target=read)
    thread.start()
    for n in range(1, 50):
        publish(volume, {"a": File(b"%d" % n), "b": File(b"%d" % n)})
    done.set()
    thread.join()
    assert mixed == []


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "..data", "..x/y", "", "a//b", "a\0b", "n" * 256]
)
def test_names_that_would_leave_the_volume_are_refused(tmp_path, name):
    with pytest.raises(VolumesError):
        publish(tmp_path / "v", {name: File(b"x")})
    assert not (tmp_path / "x").exists()


@pytest.mark.root
def test_published_files_belong_to_the_group_and_user_that_need_them(tmp_path):
    publish(tmp_path / "v", {"a": File(b"1", 0o600, 1234), "b": File(b"2", 0o400)}, 4321)
    first, second = (os.stat(tmp_path / "v" / name) for name in ("a", "b"))
    assert (first.st_uid, first.st_gid, stat.S_IMODE(first.st_mode)) == (1234, 4321, 0o640)
    assert (second.st_uid, second.st_gid, stat.S_IMODE(second.st_mode)) == (0, 4321, 0o440)
    assert not publish(tmp_path / "v", {"a": File(b"1", 0o600, 1234), "b": File(b"2", 0o400)}, 4321)
    assert publish(tmp_path / "v", {"a": File(b"1", 0o600, 1234), "b": File(b"2", 0o400)}, 4322)


@pytest.mark.root
@isolated
def test_memory_is_limited_and_goes_with_its_folder(tmp_path):
    driver, volume = LocalVolumes(), tmp_path / "v"
    driver.tmpfs(volume, 1 << 20)
    driver.tmpfs(volume, 1 << 20)
    assert mode(volume) == 0o777
    (volume / "f").write_bytes(b"x" * 500_000)
    with pytest.raises(OSError, match="No space left"):
        (volume / "g").write_bytes(b"x" * 1_000_000)
    assert asyncio.run(driver.usage(volume)) >= 500_000
    asyncio.run(driver.remove(volume))
    assert not volume.exists()


@pytest.mark.root
@isolated
def test_a_pinned_path_stays_where_it_was_whatever_becomes_of_the_name(tmp_path):
    driver, base = LocalVolumes(), tmp_path / "v"
    (base / "sub").mkdir(parents=True)
    (base / "sub" / "f").write_text("mine")
    (base / "file").write_text("one file")
    (tmp_path / "secret").mkdir()
    place = driver.bind_below(base, "sub", tmp_path / "pins/0")
    assert driver.bind_below(base, "sub", tmp_path / "pins/0") == place
    assert is_mounted(place)
    os.rename(base / "sub", base / "gone")
    os.symlink(tmp_path / "secret", base / "sub")
    assert (place / "f").read_text() == "mine"
    with pytest.raises(VolumesError):
        driver.bind_below(base, "sub", tmp_path / "pins/0")
    assert driver.bind_below(base, "file", tmp_path / "pins/1").read_text() == "one file"
    made = driver.bind_below(base, "new/deep", tmp_path / "pins/2", 0o751)
    assert mode(made) == mode(base / "new") == 0o751
    asyncio.run(driver.remove(tmp_path / "pins"))
    assert (base / "gone" / "f").exists()
    assert (base / "file").exists()


@pytest.mark.root
@isolated
@pytest.mark.parametrize("link", ["/", "..", "../..", "/etc", "/proc/self/root"])
def test_links_that_leave_the_volume_are_refused(tmp_path, link):
    driver, base = LocalVolumes(), tmp_path / "v"
    base.mkdir()
    os.symlink(link, base / "sub")
    for below in ("sub", "sub/etc", "sub/new"):
        with pytest.raises(VolumesError):
            driver.bind_below(base, below, tmp_path / "pin")
    assert not (tmp_path / "new").exists()


@pytest.mark.root
@isolated
def test_links_inside_the_volume_are_followed(tmp_path):
    base = tmp_path / "v"
    publish(base, {"key": File(b"value")})
    assert LocalVolumes().bind_below(base, "key", tmp_path / "pin").read_bytes() == b"value"


def exchange(one, other):
    _libc = ctypes.CDLL(None)
    assert _libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0


@pytest.mark.root
@isolated
def test_a_path_swapped_for_a_link_under_way_never_leads_outside(tmp_path):
    driver, base, outside = LocalVolumes(), tmp_path / "v", tmp_path / "outside"
    outside.mkdir()
    (base / "a").mkdir(parents=True)
    done = threading.Event()

    def swap():
        while not done.is_set():
            os.symlink(outside, base / "link")
            exchange(base / "link", base / "a")
            exchange(base / "link", base / "a")
            os.unlink(base / "link")

    thread = threading.Thread(target=swap)
    thread.start()
    for n in range(300):
        try:
            driver.bind_below(base, f"a/x{n}", tmp_path / f"pins/{n}")
        except VolumesError:
            pass
    done.set()
    thread.join()
    assert os.listdir(outside) == []
    asyncio.run(driver.remove(tmp_path / "pins"))


@pytest.mark.root
def test_a_tree_is_given_to_a_group_but_nothing_that_links_lead_to(tmp_path):
    driver, base, outside = LocalVolumes(), tmp_path / "v", tmp_path / "outside"
    (base / "d").mkdir(parents=True)
    (base / "d" / "f").write_text("x")
    os.chmod(base / "d" / "f", 0o600)
    outside.write_text("x")
    os.chmod(outside, 0o600)
    os.symlink(outside, base / "link")
    os.mkfifo(base / "fifo")
    asyncio.run(driver.own(base, 4321))
    assert (os.stat(base).st_gid, mode(base)) == (4321, 0o2775)
    assert (os.stat(base / "d" / "f").st_gid, mode(base / "d" / "f")) == (4321, 0o660)
    assert os.lstat(base / "link").st_gid == os.stat(base / "fifo").st_gid == 4321
    assert (os.stat(outside).st_gid, mode(outside)) == (0, 0o600)
    os.chown(base / "d" / "f", 0, 0)
    asyncio.run(driver.own(base, 4321, always=False))
    assert os.stat(base / "d" / "f").st_gid == 0
    asyncio.run(driver.own(base, 4321))
    assert os.stat(base / "d" / "f").st_gid == 4321


def test_sizes_count_hard_links_once_and_follow_no_links(tmp_path):
    driver, base = LocalVolumes(), tmp_path / "v"
    base.mkdir()
    (tmp_path / "big").write_bytes(b"x" * 1_000_000)
    (base / "f").write_bytes(b"x" * 100_000)
    os.link(base / "f", base / "g")
    os.symlink(tmp_path, base / "link")
    size = asyncio.run(driver.usage(base))
    assert 100_000 <= size < 200_000
    assert asyncio.run(driver.exceeds(base, 50_000))
    assert not asyncio.run(driver.exceeds(base, 200_000))
    assert asyncio.run(driver.usage(tmp_path / "none")) == 0


def test_removing_follows_no_links_and_may_be_repeated(tmp_path):
    driver, base = LocalVolumes(), tmp_path / "v"
    (base / "d").mkdir(parents=True)
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "f").write_text("x")
    os.symlink(tmp_path / "keep", base / "d" / "link")
    asyncio.run(driver.remove(base))
    asyncio.run(driver.remove(base))
    assert not base.exists()
    assert (tmp_path / "keep" / "f").exists()


def test_trees_deeper_than_any_path_are_measured_as_too_large_and_removed(tmp_path):
    driver, base = LocalVolumes(), tmp_path / "v"
    base.mkdir()
    folder = os.open(base, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d" * 20, dir_fd=folder)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    assert asyncio.run(driver.exceeds(base, 1 << 40))
    asyncio.run(driver.remove(base))
    assert not base.exists()
