"""Variables from a file in one of the Pod's volumes, which an init container has written there.

A line is NAME='value' or NAME=value; a value in quotes may go on over several lines. The file comes
from a container: it is opened below its volume only, if it is a plain file, and read to a limit.
Source: https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-via-file/
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from jindou.machine.volumes.local import open_below

LIMIT = 64 * 1024
ENTRY = re.compile(r"^[ \t]*+([ -<>-~]++)=(?:'([^']*)'[ \t]*(?:#.*)?|([^\n]*))$", re.MULTILINE)


class FileRefused(ValueError):
    """Why the file can't be read."""


def parse(text: str) -> dict[str, str]:
    lines = re.sub(r"^[ \t]*#.*$", "", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    found = {}
    for match in ENTRY.finditer(lines):
        found[match[1]] = match[2] if match[2] is not None else match[3].strip()
    return found


def read(volume: Path, path: str) -> dict[str, str] | None:
    """None: there is no such file."""
    base = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place = open_below(base, path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror}") from error
    finally:
        os.close(base)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise FileRefused(f"{path} is not a regular file")
        with open(f"/proc/self/fd/{place}", "rb") as file:
            data = file.read(LIMIT + 1)
    finally:
        os.close(place)
    if len(data) > LIMIT:
        raise FileRefused(f"{path} is larger than {LIMIT} bytes")
    return parse(data.decode(errors="replace"))
