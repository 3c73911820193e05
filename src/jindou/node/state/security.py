"""Security contexts of a Pod and a container merged into what a unit runs as. Pure.

Sources: https://kubernetes.io/docs/tasks/configure-pod-container/security-context/ ; the default
capabilities and the sentences of refusals are those of the container engines and the kubelet.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from jindou.objects.kinds import Object

DEFAULT_CAPABILITIES = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
    "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
ALL_CAPABILITIES = (
    *DEFAULT_CAPABILITIES, "AUDIT_CONTROL", "AUDIT_READ", "BLOCK_SUSPEND", "BPF",
    "CHECKPOINT_RESTORE", "DAC_READ_SEARCH", "IPC_LOCK", "IPC_OWNER", "LEASE", "LINUX_IMMUTABLE",
    "MAC_ADMIN", "MAC_OVERRIDE", "NET_ADMIN", "NET_BROADCAST", "PERFMON", "SYSLOG", "SYS_ADMIN",
    "SYS_BOOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE",
    "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
)  # fmt: skip


class ConfigRefused(Exception):
    """CreateContainerConfigError: the container can't be made as it is written; the message says why."""


class Security(NamedTuple):
    """What a container asks for; `user` is as the image or the Pod spells it, to be resolved."""

    user: str
    group: int | None
    groups: tuple[int, ...]
    capabilities: tuple[str, ...] | None
    privileged: bool
    readonly_root: bool
    no_new_privileges: bool
    seccomp: str
    masked: bool


def merge(pod: Object, container: Object, image_user: str, profiles: Path) -> Security:
    """The container's word counts before the Pod's, and that before the image's."""
    shared = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    _check_not_root(pod, container, {**shared, **own}, image_user)
    run_as = own.get("runAsUser", shared.get("runAsUser"))
    privileged = bool(own.get("privileged"))
    groups = list(shared.get("supplementalGroups") or ())
    if shared.get("fsGroup") is not None:
        groups.append(shared["fsGroup"])
    return Security(
        user=image_user if run_as is None else str(run_as),
        group=own.get("runAsGroup", shared.get("runAsGroup")),
        groups=tuple(dict.fromkeys(groups)),
        capabilities=_capabilities(own.get("capabilities") or {}),
        privileged=privileged,
        readonly_root=bool(own.get("readOnlyRootFilesystem")),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False and not privileged,
        seccomp="" if privileged else _seccomp(shared, own, profiles),
        masked=not privileged and own.get("procMount", "Default") != "Unmasked",
    )


def _check_not_root(pod: Object, container: Object, held: Object, image_user: str) -> None:
    if not held.get("runAsNonRoot"):
        return
    meta = pod["metadata"]
    where = f'(pod: "{meta["name"]}_{meta["namespace"]}({meta["uid"]})", container: {container["name"]})'
    chosen = held.get("runAsUser")
    if chosen is not None:
        if chosen == 0:
            raise ConfigRefused(f"container's runAsUser breaks non-root policy {where}")
        return
    user = image_user.partition(":")[0]
    if user in ("", "0"):
        raise ConfigRefused(f"container has runAsNonRoot and image will run as root {where}")
    if not user.isdigit():
        raise ConfigRefused(
            f"container has runAsNonRoot and image has non-numeric user ({user}), "
            f"cannot verify user is non-root {where}"
        )


def _capabilities(asked: Object) -> tuple[str, ...] | None:
    add = [name.upper().removeprefix("CAP_") for name in asked.get("add") or ()]
    drop = [name.upper().removeprefix("CAP_") for name in asked.get("drop") or ()]
    if not add and not drop:
        return None
    held = [] if "ALL" in drop else list(DEFAULT_CAPABILITIES)
    if "ALL" in add:
        held = list(ALL_CAPABILITIES)
    held = [name for name in held if name not in drop]
    held += [name for name in add if name != "ALL" and name not in held]
    return tuple(f"CAP_{name}" for name in held)


def _seccomp(shared: Object, own: Object, profiles: Path) -> str:
    profile = own.get("seccompProfile") or shared.get("seccompProfile") or {}
    kind = profile.get("type", "RuntimeDefault")
    if kind == "Unconfined":
        return ""
    if kind == "Localhost":
        path = profiles / profile.get("localhostProfile", "")
        if not path.resolve().is_relative_to(profiles.resolve()):
            raise ConfigRefused(f"the seccomp profile {path} is outside of {profiles}")
        if not path.is_file():
            raise ConfigRefused(
                f"cannot load seccomp profile {path}: open {path}: no such file or directory"
            )
        return str(path)
    return "default"
