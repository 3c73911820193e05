"""Layers into folders: hostile archives stay inside, whiteouts hide what the specification says."""

from __future__ import annotations

import gzip
import itertools
import os
import stat
import tarfile
import threading

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jindou.machine.images import ImageError
from jindou.machine.images.content.layers import is_opaque
from jindou.machine.images.unpacking.streams import Ahead, inflate, verified
from jindou.machine.images.unpacking.tar import Source, TarError, entries, number, parse_pax
from jindou.machine.images.unpacking.unpack import unpack
from tests.machine.tars import entry, pieces, tar

VICTIM = b"untouched"


def spread(folder):
    """What is below a folder: path -> what it is."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            state = os.lstat(path)
            if stat.S_ISLNK(state.st_mode):
                what = "-> " + os.readlink(path)
            elif stat.S_ISDIR(state.st_mode):
                descriptor = os.open(path, os.O_RDONLY)
                what = "opaque" if is_opaque(descriptor) else "folder"
                os.close(descriptor)
            elif stat.S_ISCHR(state.st_mode):
                what = "whiteout" if state.st_rdev == 0 else "device"
            elif stat.S_ISREG(state.st_mode):
                with open(path, "rb") as file:
                    what = file.read().decode()
            else:
                what = "other"
            found[os.path.relpath(path, folder)] = what
    return found


def layer(tmp_path, *made, data=None):
    folder = tmp_path / "root"
    folder.mkdir()
    return folder, unpack(pieces(data or tar(*made)), folder)


@pytest.fixture
def victim(tmp_path):
    """A file beside the root, which no archive may read, change or remove."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "f").write_bytes(VICTIM)
    yield folder
    assert sorted(os.listdir(folder)) == ["f"]
    assert (folder / "f").read_bytes() == VICTIM
    assert os.stat(folder / "f").st_nlink == 1


INSIDE = [
    pytest.param([entry("../victim/f", data=b"x")], {"victim", "victim/f"}, id="dotdot"),
    pytest.param([entry("/../victim/f", data=b"x")], {"victim", "victim/f"}, id="absolute-dotdot"),
    pytest.param([entry("a/../../victim/f", data=b"x")], {"victim", "victim/f"}, id="through"),
    pytest.param(
        [entry("out", "symlink", target="../victim"), entry("out/f", data=b"x")],
        {"out", "victim", "victim/f"},
        id="symlink-up-then-file",
    ),
    pytest.param(
        [entry("out", "symlink", target="{victim}"), entry("out/g", data=b"x")],
        None,
        id="absolute-symlink-then-file",
    ),
    pytest.param(
        [
            entry("one", "symlink", target="."),
            entry("one/two", "symlink", target="../victim"),
            entry("two/g", data=b"x"),
        ],
        {"one", "two", "victim", "victim/g"},
        id="two-step-symlinks",
    ),
    pytest.param(
        [entry("out", "symlink", target="../victim"), entry("out/s", "symlink", target="/etc")],
        {"out", "victim", "victim/s"},
        id="symlink-below-symlink",
    ),
    pytest.param(
        [entry("out", "symlink", target="../victim/f"), entry("out", data=b"mine")],
        {"out"},
        id="file-replaces-symlink",
    ),
    pytest.param(
        [entry("out", "symlink", target="../victim"), entry("out", "folder")],
        {"out"},
        id="folder-replaces-symlink",
    ),
    pytest.param(
        [entry("out", "symlink", target="../victim"), entry("out/.wh.f")],
        {"out", "victim", "victim/f"},
        id="whiteout-below-symlink",
    ),
    pytest.param(
        [
            entry("s", "symlink", target="../victim/f"),
            entry("l", "link", target="s"),
            entry("l", data=b"x"),
        ],
        {"s", "l"},
        id="file-replaces-hard-link-to-symlink",
    ),
]


@pytest.mark.parametrize(("made", "expected"), INSIDE)
def test_names_and_links_stay_inside(tmp_path, victim, made, expected):
    for info, _ in made:
        info.linkname = info.linkname.replace("{victim}", str(victim))
    folder, _ = layer(tmp_path, *made)
    if expected is not None:
        assert {*spread(folder)} == expected


REFUSED = [
    pytest.param([entry("l", "link", target="../victim/f")], "does not hold", id="link-out"),
    pytest.param([entry("l", "link", target="/../victim/f")], "does not hold", id="link-out-abs"),
    pytest.param(
        [entry("out", "symlink", target="/victim"), entry("l", "link", target="out/f")],
        "does not hold",
        id="link-through-symlink",
    ),
    pytest.param(
        [entry("d", "folder"), entry("l", "link", target="d")], "to a folder", id="link-to-folder"
    ),
    pytest.param([entry("l", "link", target=".")], "to the root", id="link-to-root"),
    pytest.param([entry(".wh..")], "not a whiteout", id="whiteout-dot"),
    pytest.param([entry(".wh...")], "not a whiteout", id="whiteout-dotdot"),
    pytest.param([entry(".wh.")], "not a whiteout", id="whiteout-nothing"),
    pytest.param([entry(".wh.a/b")], "below a whiteout", id="below-whiteout"),
    pytest.param([entry("a"), entry("a/b")], "where a folder must be", id="below-file"),
    pytest.param([entry(".", data=b"x")], "its root is not a folder", id="root-is-a-file"),
    pytest.param(
        [entry("a", "symlink", target="b"), entry("b", "symlink", target="a"), entry("a/c")],
        "leads to itself",
        id="symlink-loop",
    ),
    pytest.param([entry("/".join("d" * 300) + "/f")], "deeper than", id="deep"),
    pytest.param([entry("x" * 256)], "longer than 255", id="long-part"),
    pytest.param([entry("a/" * 2100 + "b")], "longer than 4096", id="long-name"),
    pytest.param([entry("w", "char", device=(0, 0))], "whiteout", id="device-0-0"),
    pytest.param(
        [entry("a", pax={"SCHILY.xattr.trusted.overlay.opaque": "y"})], "overlayfs's", id="trusted"
    ),
    pytest.param(
        [entry("a", pax={"SCHILY.xattr.user.overlay.redirect": "/etc"})], "overlayfs's", id="user"
    ),
    pytest.param([entry("a", pax={"GNU.sparse.map": "0,1"})], "sparse", id="sparse"),
    pytest.param([entry("a", pax={"uid": "4294967295"})], "can't exist", id="uid-minus-one"),
    pytest.param([entry("a", pax={"uid": "-1"})], "not one", id="uid-negative"),
    pytest.param([entry("a", pax={"mtime": "soon"})], "not one", id="time"),
    pytest.param([entry("a", pax={"x": "y" * (1 << 20)})], "1 MiB", id="pax-bomb"),
]


@pytest.mark.parametrize(("made", "why"), REFUSED)
def test_what_is_refused(tmp_path, victim, made, why):
    with pytest.raises(ImageError, match=why):
        layer(tmp_path, *made)


def test_a_hard_link_to_itself_keeps_its_file(tmp_path):
    folder, _ = layer(tmp_path, entry("a", data=b"kept"), entry("a", "link", target="./a"))
    assert spread(folder) == {"a": "kept"}


def test_a_file_replaces_one_of_two_names(tmp_path):
    folder, _ = layer(
        tmp_path,
        entry("a", data=b"old"),
        entry("b", "link", target="a"),
        entry("a", data=b"new"),
    )
    assert spread(folder) == {"a": "new", "b": "old"}


def test_long_names_in_both_formats(tmp_path):
    name = "/".join(f"{'n' * 90}{i}" for i in range(20))
    for number_, form in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        folder = tmp_path / f"root{number_}"
        folder.mkdir()
        made = entry(f"{name}/f", data=b"x"), entry("l", "symlink", target="t" * 300)
        unpack(pieces(tar(*made, form=form)), folder)
        assert (folder / name / "f").read_bytes() == b"x"
        assert os.readlink(folder / "l") == "t" * 300


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_owners_modes_capabilities_and_times(tmp_path):
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    folder, unpacked = layer(
        tmp_path,
        entry(".", "folder", mode=0o711, uid=7),
        entry("d", "folder", mode=0o2775, uid=1000, gid=50),
        entry("d/s", data=b"x", mode=0o4755, pax={"mtime": "1.5"}),
        entry("c", pax={"SCHILY.xattr.security.capability": capability.decode("latin-1")}),
        entry("n", "char", device=(1, 3)),
        entry("p", "fifo"),
    )
    assert unpacked.root == (0o711, 7, 0)
    found = os.stat(folder / "d")
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o2775, 1000, 50)
    found = os.stat(folder / "d" / "s")
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o4755, 1_500_000_000)
    assert os.getxattr(folder / "c", "security.capability") == capability
    assert os.stat(folder / "n").st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO(os.stat(folder / "p").st_mode)


def raw(**fields):
    """One header of 512 bytes with chosen fields, its checksum right unless given."""
    places = {"name": 0, "mode": 100, "size": 124, "checksum": 148, "type": 156, "magic": 257}
    block = bytearray(512)
    block[100:108] = b"0000644\0"
    block[257:265] = b"ustar\x0000"
    block[156:157] = b"0"
    for name, value in fields.items():
        block[places[name] : places[name] + len(value)] = value
    if "checksum" not in fields:
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (raw(name=b"a", size=b"\xff" * 12), "negative"),
        (raw(name=b"a", size=b"\x80" + b"\x7f" * 11), "too large"),
        (raw(name=b"a", size=b"12x"), "not octal"),
        (raw(name=b"a", checksum=b"000001\0 "), "checksum is wrong"),
        (raw(name=b"a", checksum=b"zzzzzz\0 "), "no checksum"),
        (raw(name=b"a", size=b"00000001000"), "middle of a file"),
        (raw(name=b"a")[:300], "middle of a header"),
        (raw(name=b"a", type=b"S"), "sparse"),
        (raw(name=b"a", type=b"V"), "unknown type"),
        (raw(name=b"a", type=b"x", size=b"77777777777"), "larger than 1 MiB"),
        (raw(name=b"a", type=b"L", size=b"00000001000"), "middle of an extended"),
    ],
)
def test_headers_that_lie(data, why):
    def read():
        source = Source(pieces(data))
        for _ in entries(source):
            pass

    with pytest.raises(TarError, match=why):
        read()


def test_numbers_and_pax_records():
    assert number(b"0000755\0") == 0o755
    assert number(b"\x80" + b"\0" * 6 + b"\x05") == 5
    assert parse_pax(b"6 a=b\n8 c=d=e\n") == {"a": b"b", "c": b"d=e"}
    for bad in (b"a=b\n", b"99 a=b\n", b"0 a=b\n", b"5 ab\n", b"6 a=bx", b"6a=b\n"):
        with pytest.raises(TarError):
            parse_pax(bad)


def test_a_general_header_counts_until_it_is_taken_back():
    data = tar(entry("a", pax={"path": "b"}), entry("c"))
    assert [e.name for e in entries(Source(pieces(data)))] == [b"b", b"c"]


def test_too_many_entries_are_refused():
    data = tar(*(entry(f"f{i}") for i in range(20)))
    with pytest.raises(TarError, match="more than 10"):
        list(entries(Source(pieces(data)), most=10))


# streams

PLAIN = os.urandom(300_000) + b"\0" * 3_000_000


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(PLAIN, id="plain"),
        pytest.param(gzip.compress(PLAIN), id="gzip"),
        pytest.param(gzip.compress(PLAIN[:1000]) + gzip.compress(PLAIN[1000:]), id="two-members"),
        pytest.param(gzip.compress(PLAIN) + b"\0" * 700, id="padded"),
        pytest.param(zstandard.compress(PLAIN), id="zstd"),
        pytest.param(
            zstandard.compress(PLAIN[:1000]) + zstandard.compress(PLAIN[1000:]), id="two-frames"
        ),
        pytest.param(b"", id="empty"),
        pytest.param(b"ab", id="short"),
    ],
)
@pytest.mark.parametrize("size", [1, 997, 1 << 20])
def test_inflate(packed, size):
    if size == 1:
        packed = packed[:2000] if packed == PLAIN else packed
    expected = packed if packed[:2] not in (b"\x1f\x8b", b"\x28\xb5") else PLAIN
    if size == 1 and len(packed) > 5000:
        size = 13
    assert b"".join(inflate(pieces(packed, size))) == expected


def wide_frame():
    """A frame whose reader would have to keep 512 MiB."""
    asked = zstandard.ZstdCompressionParameters(window_log=29)
    machine = zstandard.ZstdCompressor(compression_params=asked).compressobj()
    return machine.compress(b"x" * 100) + machine.flush()


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(gzip.compress(PLAIN)[:-20], id="gzip-cut"),
        pytest.param(gzip.compress(PLAIN)[:-4] + b"abcd", id="gzip-length"),
        pytest.param(gzip.compress(PLAIN) + b"garbage", id="gzip-garbage"),
        pytest.param(zstandard.compress(PLAIN)[:2000] + b"x" * 5000, id="zstd-cut"),
        pytest.param(wide_frame(), id="zstd-window"),
    ],
)
def test_inflate_refuses(packed):
    with pytest.raises(ImageError, match="inflated"):
        b"".join(inflate(pieces(packed)))


def test_a_bomb_is_stopped_where_it_gets_too_large():
    bomb = gzip.compress(b"\0" * (64 << 20))
    sizes = []

    def read():
        sizes.extend(map(len, inflate(pieces(bomb), largest=16 << 20)))

    with pytest.raises(ImageError, match="larger than"):
        read()
    assert max(sizes) <= 1 << 20
    assert sum(sizes) <= 16 << 20


def test_bytes_are_verified():
    digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert b"".join(verified(iter([b"a", b"bc"]), digest, 3)) == b"abc"
    for data, size in ((b"abd", 3), (b"abc", 2), (b"abc", 4), (b"ab", 3)):
        with pytest.raises(ImageError, match="damaged"):
            list(verified(iter([data]), digest, size))


def test_a_stage_in_a_thread_of_its_own():
    def stage(count, error=None):
        for number_ in range(count):
            yield bytes([number_]) * (1 << 20)
        if error:
            raise error

    with Ahead(stage(20)) as ahead:
        assert [piece[0] for piece in ahead] == [*range(20)]
    with Ahead(stage(100)) as ahead:
        next(ahead)  # leaving early ends the thread
    with pytest.raises(ImageError, match="first"), Ahead(stage(2, ImageError("first"))) as ahead:
        list(ahead)

    def fails_at_both_ends():
        with Ahead(stage(1, ImageError("the reason"))) as ahead:
            list(itertools.islice(ahead, 1))
            ahead_thread_ends()
            raise ValueError("what came of it")

    def ahead_thread_ends():
        for thread in threading.enumerate():
            if thread.name == "images-ahead":
                thread.join(10)

    with pytest.raises(ImageError, match="the reason"):
        fails_at_both_ends()


# whiteouts against a model

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
STEPS = st.lists(
    st.tuples(st.sampled_from(["file", "folder", "whiteout", "opaque"]), PATHS), max_size=8
)


def merged(layers):
    """What a process sees over unpacked layers, by the rules of overlayfs; path -> content."""
    seen = {}
    for found in layers:
        hidden = [path for path, what in found.items() if what != "folder"]
        for path in list(seen):
            if any(path == other or path.startswith(f"{other}/") for other in hidden):
                del seen[path]
        for path, what in sorted(found.items()):
            if what == "whiteout":
                continue
            seen[path] = "folder" if what == "opaque" else what
    return seen


def model(layers):
    """The same by the rules of the image specification, straight from the steps."""
    seen = {}
    for number_, steps in enumerate(layers):
        mine = {}
        gone = set()
        for kind, path in steps:
            name = "/".join(path)
            above = path if kind == "opaque" else path[:-1]
            for depth in range(1, len(above) + 1):
                mine.setdefault("/".join(above[:depth]), "folder")
            if kind == "whiteout":
                gone.add((name, True))
            elif kind == "opaque":
                gone.add((name, False))
            elif kind == "folder":
                if mine.get(name, "folder") != "folder":
                    del mine[name]
                mine.setdefault(name, "folder")
            else:
                for old in [o for o in mine if o == name or o.startswith(f"{name}/")]:
                    del mine[old]
                gone = {(g, itself) for g, itself in gone if not g.startswith(f"{name}/") or itself}
                mine[name] = f"{number_}"
        for name in list(seen):
            covered = any(
                name.startswith(f"{g}/") or (itself and name == g) for g, itself in gone
            ) or any(
                what != "folder" and (name == m or name.startswith(f"{m}/"))
                for m, what in mine.items()
            )
            if covered:
                del seen[name]
        for name, what in mine.items():
            if what == "folder" and seen.get(name, "folder") != "folder":
                del seen[name]
            seen[name] = what
    return seen


def possible(steps):
    """A path may not lead through a file of the same layer."""
    files = set()
    for kind, path in steps:
        above = path if kind == "opaque" else path[:-1]
        if any("/".join(above[:depth]) in files for depth in range(1, len(above) + 1)):
            return False
        if kind == "file":
            files.add("/".join(path))
        elif kind == "folder":
            files.discard("/".join(path))
    return True


@given(st.lists(STEPS.filter(possible), min_size=1, max_size=3))
@example([[("file", ("b", "a"))], [("opaque", ("b",)), ("file", ("b",)), ("folder", ("b",))]])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whiteouts_hide_what_the_specification_says(tmp_path_factory, layers):
    top = tmp_path_factory.mktemp("layers")
    found = []
    for number_, steps in enumerate(layers):
        made = []
        for kind, path in steps:
            name = "/".join(path)
            if kind == "whiteout":
                made.append(entry("/".join((*path[:-1], f".wh.{path[-1]}"))))
            elif kind == "opaque":
                made.append(entry(f"{name}/.wh..wh..opq"))
            else:
                made.append(entry(name, kind, str(number_).encode() if kind == "file" else b""))
        folder = top / str(number_)
        folder.mkdir()
        unpack(pieces(tar(*made)), folder)
        found.append(spread(folder))
    assert merged(found) == model(layers)
