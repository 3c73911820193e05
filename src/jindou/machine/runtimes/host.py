"""What this machine lends to units: capabilities, device nodes, and what can be limited."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from jindou.machine.linux.cgroups import Cgroups
from jindou.machine.runtimes import StartFailed, Unit
from jindou.machine.runtimes.bundle import Device, Host

# By number, as linux/capability.h has them.
CAPABILITY_NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
# Made by the runtime in each unit, or belonging to the host's terminals and mounts alone.
NOT_LENT = frozenset(
    {"console", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "tty", "urandom"}
    | {"zero", ".lxc", ".udev"}
)


def facts(cgroups: Cgroups) -> Host:
    capabilities = own_capabilities()
    lowest = -1000
    if "CAP_SYS_RESOURCE" not in capabilities:  # then it can only be raised
        lowest = int(Path("/proc/self/oom_score_adj").read_text())
    return Host(cgroups.version == "v2", capabilities, cgroups.counts_swap(), lowest)


def own_capabilities() -> frozenset[str]:
    """What we hold and may pass on: the bounding set, as far as it is permitted to us."""
    sets = {}
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(("CapBnd:", "CapPrm:")):
                sets[line[:6]] = int(line.split()[1], 16)
    mask = sets["CapBnd"] & sets["CapPrm"]
    names = CAPABILITY_NAMES.split()
    return frozenset(f"CAP_{name}" for bit, name in enumerate(names) if mask >> bit & 1)


def devices(unit: Unit) -> list[Device]:
    """The nodes of the devices that a unit asks for, `HOST[:UNIT[:rwm]]`; all, if privileged."""
    asked = []
    for text in unit.devices:
        source, _, rest = text.partition(":")
        target, _, access = rest.partition(":")
        found = list(_nodes(Path(source), target or source, access or "rwm"))
        if not found:
            raise StartFailed(f"{source} is not a device of this machine")
        asked += found
    if unit.privileged:
        taken = {device.path for device in asked}
        asked += [device for device in _all() if device.path not in taken]
    return asked


def _all() -> Iterator[Device]:
    with os.scandir("/dev") as entries:
        for entry in entries:
            if entry.name not in NOT_LENT and not entry.is_symlink():
                yield from _nodes(Path(entry.path), entry.path, "rwm")


def _nodes(source: Path, target: str, access: str) -> Iterator[Device]:
    """A device, or all in a folder."""
    try:
        found = source.stat()
    except OSError:
        return
    if stat.S_ISDIR(found.st_mode):
        for entry in sorted(source.iterdir()):
            if not entry.is_symlink():
                yield from _nodes(entry, f"{target.rstrip('/')}/{entry.name}", access)
        return
    kind = "c" if stat.S_ISCHR(found.st_mode) else "b" if stat.S_ISBLK(found.st_mode) else ""
    if kind:
        yield Device(
            target, kind, os.major(found.st_rdev), os.minor(found.st_rdev), access,
            stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid,
        )  # fmt: skip
