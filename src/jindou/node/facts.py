"""What this machine is and how it is: read from /proc and /sys, shown in the Node object.

`Machine` never changes while we run; `Pressure` is read at each heartbeat.
Sources: proc(5), os-release(5), machine-id(5).
"""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path
from typing import NamedTuple

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "riscv64": "riscv64"}  # fmt: skip
MEMORY_FLOOR = 100 * 1024 * 1024  # bytes that must be available, else MemoryPressure
DISK_FLOOR, INODE_FLOOR = 0.10, 0.05  # parts that must be free, else DiskPressure
PID_FLOOR = 0.05


class Machine(NamedTuple):
    name: str
    cores: int
    memory: int  # bytes
    disk: int  # bytes of the file system that holds our data
    huge_pages: dict[str, int]  # "2Mi" -> bytes
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel: str
    system: str  # Debian GNU/Linux 12 (bookworm)
    architecture: str


class Pressure(NamedTuple):
    memory: bool = False
    disk: bool = False
    pids: bool = False


def host_name() -> str:
    return socket.gethostname().lower().rstrip(".") or "localhost"


def observe_machine(name: str, folder: str, root: Path = Path("/")) -> Machine:
    return Machine(
        name=name or host_name(),
        cores=len(os.sched_getaffinity(0)),
        memory=meminfo(root).get("MemTotal", 0),
        disk=disk_size(folder),
        huge_pages=huge_pages(root),
        machine_id=first_line(root, "etc/machine-id", "var/lib/dbus/machine-id"),
        system_uuid=first_line(root, "sys/class/dmi/id/product_uuid", "etc/machine-id"),
        boot_id=first_line(root, "proc/sys/kernel/random/boot_id"),
        kernel=platform.release(),
        system=os_name(root),
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
    )


def observe_pressure(folder: str, root: Path = Path("/")) -> Pressure:
    return Pressure(
        meminfo(root).get("MemAvailable", MEMORY_FLOOR) < MEMORY_FLOOR,
        disk_is_short(folder),
        pids_are_short(root),
    )


def meminfo(root: Path = Path("/")) -> dict[str, int]:
    """In bytes."""
    found = {}
    for line in (root / "proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        found[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return found


def huge_pages(root: Path) -> dict[str, int]:
    found = {}
    folder = root / "sys/kernel/mm/hugepages"
    for place in folder.iterdir() if folder.is_dir() else ():
        size = int(place.name.removeprefix("hugepages-").removesuffix("kB")) * 1024
        count = int((place / "nr_hugepages").read_text())
        unit = f"{size >> 30}Gi" if size >= 1 << 30 else f"{size >> 20}Mi"
        if size >= 1 << 20:
            found[unit] = size * count
    return found


def first_line(root: Path, *names: str) -> str:
    for name in names:
        try:
            if text := (root / name).read_text().strip():
                return text.splitlines()[0].lower()
        except OSError:
            continue
    return ""


def os_name(root: Path) -> str:
    try:
        for line in (root / "etc/os-release").read_text().splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip("\"'")
    except OSError:
        pass
    return "Linux"


def existing(folder: str) -> str:
    """The folder, or the nearest one above it that is there."""
    place = Path(folder)
    while not place.exists():
        place = place.parent
    return str(place)


def disk_size(folder: str) -> int:
    status = os.statvfs(existing(folder))
    return status.f_blocks * status.f_frsize


def disk_is_short(folder: str) -> bool:
    status = os.statvfs(existing(folder))
    blocks = status.f_bavail < status.f_blocks * DISK_FLOOR
    inodes = status.f_files > 0 and status.f_favail < status.f_files * INODE_FLOOR
    return blocks or inodes


def pids_are_short(root: Path) -> bool:
    try:
        most = int((root / "proc/sys/kernel/pid_max").read_text())
        running = int((root / "proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return False
    return most - running < most * PID_FLOOR
