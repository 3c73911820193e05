"""A container of a Pod, with all that was found out about it, becomes a unit of the machine. Pure.

A unit's id is `{Pod uid}-{container}-{attempt}`: after a restart it tells whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jindou.machine.network import HostPort
from jindou.machine.runtimes import Mount, Unit
from jindou.node.state import resources
from jindou.node.state.security import Security
from jindou.node.volumes.environment import expand
from jindou.objects.kinds import Object
from jindou.settings import Settings

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class UnitName(NamedTuple):
    uid: str
    container: str
    attempt: int


def unit_id(uid: str, container: str, attempt: int) -> str:
    return f"{uid}-{container}-{attempt}"


def parse_id(id: str) -> UnitName | None:
    """None: not one of a Pod's."""
    match = re.fullmatch(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-(.+)-(\d+)", id)
    return UnitName(match[1], match[2], int(match[3])) if match else None


def log_folder(settings: Settings, pod: Object) -> Path:
    meta = pod["metadata"]
    return Path(settings.logs) / "pods" / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"


def log_path(settings: Settings, pod: Object, container: str, attempt: int) -> Path:
    return log_folder(settings, pod) / container / f"{attempt}.log"


def hostname(pod: Object) -> str:
    spec = pod["spec"]
    name: str = spec.get("hostname") or pod["metadata"]["name"]
    return spec.get("hostnameOverride") or name[:63].rstrip("-.")


def domain_name(pod: Object, settings: Settings) -> str:
    """The full name of a Pod in a subdomain; "" for others."""
    subdomain = pod["spec"].get("subdomain")
    if not subdomain:
        return ""
    namespace = pod["metadata"]["namespace"]
    return f"{hostname(pod)}.{subdomain}.{namespace}.svc.{settings.cluster_domain}"


def kernel_name(pod: Object, settings: Settings) -> str:
    """What `hostname` prints inside."""
    full = domain_name(pod, settings)
    return full if full and pod["spec"].get("setHostnameAsFQDN") else hostname(pod)


def hosts_file(pod: Object, addresses: Sequence[str], settings: Settings, machine: str = "") -> str:
    """/etc/hosts of a Pod; `machine` is the machine's own, for a Pod in its network."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        lines = [
            "# Kubernetes-managed hosts file (host network).",
            *machine.rstrip("\n").splitlines(),
        ]
    else:
        lines = [
            "# Kubernetes-managed hosts file.",
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::\tip6-localnet",
            "fe00::\tip6-mcastprefix",
            "fe00::1\tip6-allnodes",
            "fe00::2\tip6-allrouters",
        ]
        names = [name for name in (domain_name(pod, settings), hostname(pod)) if name]
        lines += ["\t".join([address, *names]) for address in addresses]
    if aliases := spec.get("hostAliases"):
        lines += ["", "# Entries added by HostAliases."]
        lines += ["\t".join([entry["ip"], *(entry.get("hostnames") or ())]) for entry in aliases]
    return "\n".join(lines) + "\n"


def host_ports(pod: Object) -> tuple[HostPort, ...]:
    if pod["spec"].get("hostNetwork"):
        return ()
    return tuple(
        HostPort(
            port.get("protocol", "TCP").lower(),
            port["hostPort"],
            port["containerPort"],
            "" if port.get("hostIP") in (None, "0.0.0.0", "::") else port["hostIP"],
        )
        for container in resources.containers(pod)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def sysctls(pod: Object) -> dict[str, str]:
    held = (pod["spec"].get("securityContext") or {}).get("sysctls") or ()
    return {entry["name"]: str(entry["value"]) for entry in held}


def argv(container: Object, config: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
    """`command` replaces the image's entry point and its arguments, `args` only the arguments."""
    command = [expand(word, variables) for word in container.get("command") or ()]
    args = [expand(word, variables) for word in container.get("args") or ()]
    if command:
        return command + args
    return [*(config.get("Entrypoint") or ()), *(args or config.get("Cmd") or ())]


def variables(
    container: Object,
    config: Mapping[str, Any],
    own: Iterable[tuple[str, str]],
    name: str,
) -> tuple[str, ...]:
    """The image's variables, then the container's, each name once."""
    merged: dict[str, str] = {}
    for entry in (PATH, f"HOSTNAME={name}", *(config.get("Env") or ())):
        key, _, value = entry.partition("=")
        merged[key] = value
    if container.get("tty"):
        merged.setdefault("TERM", "xterm")
    merged.update(own)
    return tuple(f"{key}={value}" for key, value in merged.items())


class Files(NamedTuple):
    """What we keep for a container below its Pod's folder."""

    hosts: Path
    hostname: Path
    resolv_conf: Path
    termination: Path
    shared_memory: Path  # of all containers of the Pod


def file_mounts(container: Object, files: Files, taken: Iterable[str]) -> list[Mount]:
    """Our files inside the container, except where a volume is mounted already."""
    readonly = bool((container.get("securityContext") or {}).get("readOnlyRootFilesystem"))
    options = ("rbind", "rprivate", "ro" if readonly else "rw")
    held = [
        Mount("/etc/hosts", str(files.hosts), options=options),
        Mount("/etc/hostname", str(files.hostname), options=options),
        Mount("/etc/resolv.conf", str(files.resolv_conf), options=options),
        Mount(
            container.get("terminationMessagePath") or "/dev/termination-log",
            str(files.termination),
            options=("rbind", "rprivate", "rw"),
        ),
        Mount(
            "/dev/shm",
            str(files.shared_memory),
            options=("rbind", "rprivate", "rw", "nosuid", "nodev", "noexec"),
        ),
    ]
    used = {path.rstrip("/") for path in taken}
    return [mount for mount in held if mount.target not in used]


def in_order(own: Sequence[Mount], volumes: Sequence[Mount]) -> tuple[Mount, ...]:
    """A place inside of another is mounted after it, whatever the order in which they are given.
    Nothing of ours is put into a volume that nobody may write to."""
    closed = [f"{m.target.rstrip('/')}/" for m in volumes if {"ro", "rro"} & set(m.options)]
    kept = [mount for mount in own if not mount.target.startswith(tuple(closed))]
    return tuple(sorted((*kept, *volumes), key=lambda mount: len(Path(mount.target).parts)))


def namespaces(
    pod: Object, kept: Mapping[str, Path], first: int = 0, target: int = 0
) -> dict[str, str]:
    """Which namespaces a container gets, in the words of `Unit.namespaces`.

    `first` is the process of a running container whose process namespace the others share,
    `target` that of the container which an ephemeral one looks into.
    """
    spec = pod["spec"]
    found = {kind: str(path) for kind, path in kept.items()}
    if not spec.get("hostNetwork"):
        found.setdefault("network", "")
        found.setdefault("uts", "")
    found.setdefault("ipc", "")
    if spec.get("hostIPC"):
        del found["ipc"]
    joined = target or (first if spec.get("shareProcessNamespace") else 0)
    if not spec.get("hostPID"):
        found["pid"] = f"/proc/{joined}/ns/pid" if joined else ""
    return found


class Found(NamedTuple):
    """What was found out about one container before its start."""

    id: str
    root: Path
    config: Mapping[str, Any]  # the image's
    environment: Sequence[tuple[str, str]]
    mounts: Sequence[Mount]
    files: Files
    security: Security
    uid: int
    gid: int
    groups: tuple[int, ...]  # of the user, in the image
    namespaces: Mapping[str, str]
    log: Path
    memory: int  # of the machine
    runtime: str = ""


def unit(pod: Object, container: Object, found: Found, settings: Settings) -> Unit:
    security, config = found.security, found.config
    own = list(found.environment)
    name = kernel_name(pod, settings)
    gid = found.gid if security.group is None else security.group
    taken = [mount.target for mount in found.mounts]
    return Unit(
        id=found.id,
        root=found.root,
        argv=tuple(argv(container, config, dict(own))),
        env=variables(container, config, own, name),
        cwd=container.get("workingDir") or config.get("WorkingDir") or "/",
        uid=found.uid,
        gid=gid,
        groups=tuple(dict.fromkeys((*found.groups, *security.groups))),
        hostname="" if "uts" not in found.namespaces or found.namespaces["uts"] else name,
        namespaces=found.namespaces,
        mounts=in_order(file_mounts(container, found.files, taken), found.mounts),
        cgroup=cgroup(pod, found.id, settings),
        limits=resources.limits(container),
        oom_score_adj=resources.oom_score(pod, container, found.memory),
        capabilities=security.capabilities,
        no_new_privileges=security.no_new_privileges,
        readonly_root=security.readonly_root,
        privileged=security.privileged,
        seccomp=security.seccomp,
        masked=security.masked,
        terminal=bool(container.get("tty")),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        stop_signal=stop_signal(container, config),
        runtime=found.runtime,
        log=found.log,
        annotations=_annotations(pod),
    )


def _annotations(pod: Object) -> dict[str, str]:
    """Only those of the pretended machine: runtimes obey others, and users may write any."""
    held = pod["metadata"].get("annotations") or {}
    return {name: value for name, value in held.items() if name.startswith("pretend/")}


def cgroup(pod: Object, id: str, settings: Settings) -> str:
    uid = pod["metadata"]["uid"]
    return f"{settings.name}/pods/{uid}/{id.removeprefix(uid + '-')}"


def stop_signal(container: Object, config: Mapping[str, Any]) -> str:
    own = (container.get("lifecycle") or {}).get("stopSignal")
    return str(own or config.get("StopSignal") or "")
