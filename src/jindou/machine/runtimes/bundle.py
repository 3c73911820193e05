"""A unit as an OCI runtime reads it: one pure function from a Unit to the text of config.json.

Paths that a container must not see or change, default capabilities and mounts are the field's
usual ones. Namespaces are given by path where the unit names one; then the host name belongs to
that namespace and is not set here (runtimes refuse it). Resource limits of processes are left as
they are inherited: raising one needs a capability that we may lack.

Sources: the OCI runtime specification 1.0.2 (config.md, config-linux.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jindou.machine.runtimes import Limits, Mount, Unit

PERIOD = 100_000
CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
MASKED = (
    *(f"/proc/{name}" for name in ("acpi", "asound", "interrupts", "kcore", "keys", "scsi")),
    *(f"/proc/{name}" for name in ("latency_stats", "sched_debug", "timer_list", "timer_stats")),
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READ_ONLY = tuple(f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger"))
KINDS = ("network", "uts", "ipc", "pid")
SAFE = ("nosuid", "noexec", "nodev")


class Device(NamedTuple):
    """A device node to make in the unit; access is a part of `rwm`."""

    path: str
    kind: str  # "c" or "b"
    major: int
    minor: int
    access: str = "rwm"
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


class Host(NamedTuple):
    """What a bundle has to know of the machine."""

    unified: bool = True  # cgroup version 2
    capabilities: frozenset[str] = frozenset()  # those that we have and may pass on
    swap: bool = False  # memory and swap can be limited together
    lowest_oom_score: int = -1000


class Filter(NamedTuple):
    """System call filter: the profile in OCI form, and the same as compiled BPF in base64."""

    profile: dict[str, Any] | None = None
    compiled: str = ""


def config(
    unit: Unit,
    host: Host,
    cgroup: str,
    seccomp: Filter = Filter(),  # noqa: B008 - it can't change
    devices: Sequence[Device] = (),
) -> dict[str, Any]:
    """`cgroup` is the unit's group from the root of the hierarchies."""
    document: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": process(unit, host),
        "root": {"path": str(unit.root), "readonly": unit.readonly_root},
        "mounts": mounts(unit),
        "linux": _linux(unit, host, cgroup, seccomp, devices),
    }
    if unit.hostname and unit.namespaces.get("uts") == "":
        document["hostname"] = unit.hostname
    if seccomp.compiled:
        document["annotations"] = {"run.oci.seccomp_bpf_data": seccomp.compiled}
    return document


def process(unit: Unit, host: Host) -> dict[str, Any]:
    granted = granted_capabilities(unit, host)
    names = {entry.split("=", 1)[0] for entry in unit.env}
    env = list(unit.env)
    if "PATH" not in names:
        env.append("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if unit.terminal and "TERM" not in names:
        env.append("TERM=xterm")
    user: dict[str, Any] = {"uid": unit.uid, "gid": unit.gid}
    if unit.groups:
        user["additionalGids"] = list(unit.groups)
    return {
        "terminal": unit.terminal,
        "user": user,
        "args": list(unit.argv),
        "env": env,
        "cwd": unit.cwd or "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), granted),
        "noNewPrivileges": unit.no_new_privileges,
        "oomScoreAdj": max(unit.oom_score_adj, host.lowest_oom_score),
    }


def granted_capabilities(unit: Unit, host: Host) -> list[str]:
    """Never more than we have: a runtime can't pass on what it lacks."""
    if unit.privileged:
        return sorted(host.capabilities)
    wanted = CAPABILITIES if unit.capabilities is None else unit.capabilities
    return [name for name in wanted if name in host.capabilities]


def mounts(unit: Unit) -> list[dict[str, Any]]:
    """The usual file systems, except where the unit mounts something itself; then its own."""
    access = "rw" if unit.privileged else "ro"
    own_ipc = "ipc" in unit.namespaces
    usual = [
        Mount("/proc", "proc", "proc", SAFE),
        Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        Mount(
            "/dev/pts", "devpts", "devpts",
            ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        Mount("/dev/shm", "shm", "tmpfs", (*SAFE, "mode=1777", "size=65536k"))
        if own_ipc else Mount("/dev/shm", "/dev/shm", "bind", ("rbind", "rprivate", *SAFE)),
        Mount("/dev/mqueue", "mqueue", "mqueue", SAFE),
        Mount("/sys", "sysfs", "sysfs", (*SAFE, access)),
        Mount("/sys/fs/cgroup", "cgroup", "cgroup", (*SAFE, "relatime", access)),
    ]  # fmt: skip
    taken = {mount.target.rstrip("/") for mount in unit.mounts}
    kept = [mount for mount in usual if mount.target not in taken]
    return [_mount(mount) for mount in (*kept, *unit.mounts)]


def _mount(mount: Mount) -> dict[str, Any]:
    document: dict[str, Any] = {
        "destination": mount.target,
        "type": mount.kind,
        "source": mount.source or mount.kind,
        "options": list(mount.options),
    }
    return document


def _linux(
    unit: Unit, host: Host, cgroup: str, seccomp: Filter, devices: Sequence[Device]
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "namespaces": namespaces(unit),
        "cgroupsPath": cgroup,
        "resources": {
            **resources(unit.limits, host),
            "devices": _device_rules(unit, devices),
        },
    }
    if unit.masked and not unit.privileged:
        document["maskedPaths"] = list(MASKED)
        document["readonlyPaths"] = list(READ_ONLY)
    if unit.sysctls:
        document["sysctl"] = dict(unit.sysctls)
    if devices:
        document["devices"] = [
            {
                "path": device.path,
                "type": device.kind,
                "major": device.major,
                "minor": device.minor,
                "fileMode": device.mode,
                "uid": device.uid,
                "gid": device.gid,
            }
            for device in devices
        ]
    if seccomp.profile:
        document["seccomp"] = seccomp.profile
    return document


def namespaces(unit: Unit) -> list[dict[str, str]]:
    found = [{"type": "mount"}]
    for kind in KINDS:
        if kind in unit.namespaces:
            path = unit.namespaces[kind]
            found.append({"type": kind, "path": path} if path else {"type": kind})
    if not unit.privileged:
        found.append({"type": "cgroup"})
    return found


def _device_rules(unit: Unit, devices: Sequence[Device]) -> list[dict[str, Any]]:
    """Runtimes add the harmless ones (null, zero, random, tty ...) to what is allowed here."""
    if unit.privileged:
        return [{"allow": True, "access": "rwm"}]
    return [
        {"allow": False, "access": "rwm"},
        *(
            {
                "allow": True,
                "type": device.kind,
                "major": device.major,
                "minor": device.minor,
                "access": device.access,
            }
            for device in devices
        ),
    ]


def resources(limits: Limits, host: Host) -> dict[str, Any]:
    """No swap beside the memory limit where that can be said: a limit is a limit."""
    found: dict[str, Any] = {}
    cpu: dict[str, Any] = {}
    if limits.cpu:
        cpu |= {"quota": max(1000, round(limits.cpu * PERIOD)), "period": PERIOD}
    if limits.cpu_shares:
        cpu["shares"] = max(2, limits.cpu_shares)
    if limits.cpuset:
        cpu["cpus"] = limits.cpuset
    if cpu:
        found["cpu"] = cpu
    if limits.memory:
        found["memory"] = {"limit": limits.memory}
        if host.swap:
            found["memory"]["swap"] = limits.memory
        if host.unified:
            found["unified"] = {"memory.oom.group": "1"}
    if limits.pids:
        found["pids"] = {"limit": limits.pids}
    if limits.hugepages:
        found["hugepageLimits"] = [
            {"pageSize": size, "limit": limit} for size, limit in limits.hugepages.items()
        ]
    return found


def exec_process(
    base: dict[str, Any], argv: Sequence[str], env: Sequence[str], terminal: bool
) -> dict[str, Any]:
    """Another process of the same unit: its user, capabilities and folder, other arguments."""
    document = {**base, "args": list(argv), "terminal": terminal}
    added = {entry.split("=", 1)[0] for entry in env}
    kept = [entry for entry in base["env"] if entry.split("=", 1)[0] not in added]
    if terminal and not any(entry.startswith("TERM=") for entry in (*kept, *env)):
        kept.append("TERM=xterm")
    document["env"] = [*kept, *env]
    return document
