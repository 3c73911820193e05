"""Who a program in an image runs as: names looked up in the image's own /etc/passwd and /etc/group.

The files belong to the image, so they are read by descriptor inside its root, regular files only
and not beyond a size; no library of this machine looks anything up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jindou.machine.images import ImageError
from jindou.machine.images.unpacking.inside import read_inside

LARGEST_FILE = 1 << 20
LARGEST_ID = (1 << 31) - 1


def resolve_user(root: Path, user: str) -> tuple[int, int, tuple[int, ...]]:
    """uid, gid and further groups of "", "name", "uid", "name:group" or "uid:gid".

    Without a group: the user's own one and those that list it as a member (root's for a number
    that has no entry). With a group: that one alone. Raises ImageError.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        users = _lines(read_inside(descriptor, b"/etc/passwd", LARGEST_FILE))
        groups = _lines(read_inside(descriptor, b"/etc/group", LARGEST_FILE))
        return look_up(user, list(users), list(groups))
    finally:
        os.close(descriptor)


def look_up(
    user: str, users: list[list[str]], groups: list[list[str]]
) -> tuple[int, int, tuple[int, ...]]:
    """The same over the fields of the two files' lines."""
    if any(ord(letter) < 33 or letter == "\x7f" for letter in user) or user.count(":") > 1:
        raise ImageError(f"{user[:100]!r} is not a user")
    name, _, group = user.partition(":")
    name = name or "0"
    uid, gid, known = _number(name, "user"), 0, ""
    for fields in users:
        if len(fields) < 4 or not (_numeric(fields[2]) and _numeric(fields[3])):
            continue
        if fields[0] == name or (uid is not None and fields[2] == str(uid)):
            uid, gid, known = _known(fields[2], "user"), _known(fields[3], "group"), fields[0]
            break
    if uid is None:
        raise ImageError(f"the image has no user {name[:100]!r}")
    if group:
        return uid, _group(group, groups), ()
    further = {
        _known(fields[2], "group")
        for fields in groups
        if known and len(fields) >= 4 and _numeric(fields[2]) and known in fields[3].split(",")
    }
    return uid, gid, tuple(sorted(further))


def _group(group: str, groups: list[list[str]]) -> int:
    gid = _number(group, "group")
    for fields in groups:
        if len(fields) >= 3 and _numeric(fields[2]) and fields[0] == group:
            return _known(fields[2], "group")
    if gid is None:
        raise ImageError(f"the image has no group {group[:100]!r}")
    return gid


def _number(text: str, what: str) -> int | None:
    return _known(text, what) if _numeric(text) else None


def _numeric(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _known(text: str, what: str) -> int:
    value = int(text) if len(text) <= 10 else LARGEST_ID + 1
    if value > LARGEST_ID:
        raise ImageError(f"the {what} id {text[:40]} is larger than {LARGEST_ID}")
    return value


def _lines(data: bytes | None) -> Iterator[list[str]]:
    for line in (data or b"").decode("utf-8", "replace").splitlines():
        if line and not line.startswith("#"):
            yield line.strip().split(":")
