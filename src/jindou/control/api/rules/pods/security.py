"""Rules of security contexts, probes and hooks that concern more than one of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jindou.control.api.rules.names import (
    duplicate,
    invalid,
    qualified,
    required,
    unqualified,
    unsupported,
)
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

SECCOMP = ("Localhost", "RuntimeDefault", "Unconfined")
SYSTEMS = ("linux", "windows")
RESIZED = ("cpu", "memory")
RESIZING = ("NotRequired", "RestartContainer")
MOUNTS = ("Default", "Unmasked")
CHANGES = ("Always", "OnRootMismatch")
RANGE = "must be between 0 and 2147483647, inclusive"
NO_RISE = "cannot set `allowPrivilegeEscalation` to false and "


def pod_security(spec: Object, at: str) -> Iterator[Fault]:
    shared = spec.get("securityContext") or {}
    yield from _ids(shared, f"{at}.securityContext")
    change = shared.get("fsGroupChangePolicy")
    if change is not None and change not in CHANGES:
        yield unsupported(f"{at}.securityContext.fsGroupChangePolicy", change, CHANGES)
    if (system := spec.get("os")) is not None:
        if not system.get("name"):
            yield required(f"{at}.os.name")
        elif system["name"] not in SYSTEMS:
            yield unsupported(f"{at}.os", system["name"], SYSTEMS)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        says = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid(f"{at}.shareProcessNamespace", True, says)
    for n, gate in enumerate(spec.get("readinessGates") or ()):
        kind = gate.get("conditionType") or ""
        if qualified(kind):
            yield from unqualified(f"{at}.readinessGates[{n}].conditionType", kind)
    seen: set[str] = set()
    for n, gate in enumerate(spec.get("schedulingGates") or ()):
        name = gate.get("name") or ""
        if qualified(name):
            yield from unqualified(f"{at}.schedulingGates[{n}]", name)
        elif name in seen:
            yield duplicate(f"{at}.schedulingGates[{n}]", name)
        seen.add(name)
    grace = spec.get("terminationGracePeriodSeconds")
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for n, container in enumerate(spec.get(part) or ()):
            field = f"{at}.{part}[{n}]"
            yield from _container(container.get("securityContext") or {}, f"{field}.securityContext")  # fmt: skip
            if policies := container.get("resizePolicy"):
                never = spec.get("restartPolicy") == "Never"
                yield from _resizing(policies, f"{field}.resizePolicy", never)
            yield from _times(container, field, 30 if grace is None else 1 if grace < 0 else grace)


def _resizing(policies: Sequence[Object], at: str, never: bool) -> Iterator[Fault]:
    """How a container takes other resources; in a Pod that never restarts it can't be by that."""
    seen: set[str] = set()
    for n, one in enumerate(policies):
        name, how = one.get("resourceName") or "", one.get("restartPolicy") or ""
        if name in seen:
            yield duplicate(f"{at}[{n}]", name)
        seen.add(name)
        for value, known in ((name, RESIZED), (how, RESIZING)):
            if not value:
                yield required(at)
            elif value not in known:
                yield unsupported(at, value, known)
        if never and how != "NotRequired":
            says = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            yield invalid(at, how, says)


def _ids(held: Object, at: str) -> Iterator[Fault]:
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        number = held.get(name)
        if number is not None and not 0 <= number <= 2147483647:
            yield invalid(f"{at}.{name}", number, RANGE)
    for n, number in enumerate(held.get("supplementalGroups") or ()):
        if not 0 <= number <= 2147483647:
            yield invalid(f"{at}.supplementalGroups[{n}]", number, RANGE)
    if (profile := held.get("seccompProfile")) is not None:
        kind, path = profile.get("type") or "", profile.get("localhostProfile")
        field = f"{at}.seccompProfile"
        if not kind:
            yield required(f"{field}.type", "type is required when seccompProfile is set")
        elif kind not in SECCOMP:
            yield unsupported(f"{field}.type", kind, SECCOMP)
        if kind == "Localhost" and path is None:
            says = "must be set when seccomp type is Localhost"
            yield required(f"{field}.localhostProfile", says)
        elif kind != "Localhost" and path is not None:
            says = "can only be set when seccomp type is Localhost"
            yield invalid(f"{field}.localhostProfile", path, says)
        elif path and (path.startswith("/") or ".." in path.split("/")):
            says = "must be a relative path" if path.startswith("/") else "must not contain '..'"
            yield invalid(f"{field}.localhostProfile", path, says)
    if (profile := held.get("appArmorProfile")) is not None:
        yield from _app_armor(profile, f"{at}.appArmorProfile")


def _app_armor(profile: Object, at: str) -> Iterator[Fault]:
    kind, name = profile.get("type") or "", profile.get("localhostProfile")
    if not kind:
        yield required(f"{at}.type", "type is required when appArmorProfile is set")
    elif kind not in SECCOMP:
        yield unsupported(f"{at}.type", kind, SECCOMP)
    elif kind == "Localhost" and not (name or "").strip():
        says = "must be set when AppArmor type is Localhost"
        yield required(f"{at}.localhostProfile", says)
    elif kind != "Localhost" and name is not None:
        says = "can only be set when AppArmor type is Localhost"
        yield invalid(f"{at}.localhostProfile", name, says)


def _container(held: Object, at: str) -> Iterator[Fault]:
    yield from _ids(held, at)
    kind = held.get("procMount")
    if kind is not None and kind not in MOUNTS:
        yield unsupported(f"{at}.procMount", kind, MOUNTS)
    if held.get("allowPrivilegeEscalation") is not False:
        return
    if held.get("privileged"):
        yield invalid(at, held, NO_RISE + "`privileged` to true")
    if "CAP_SYS_ADMIN" in ((held.get("capabilities") or {}).get("add") or ()):
        yield invalid(at, held, NO_RISE + "`capabilities.Add` CAP_SYS_ADMIN")


def _times(container: Object, at: str, grace: int) -> Iterator[Fault]:
    """Of probes and hooks."""
    for name in ("livenessProbe", "startupProbe", "readinessProbe"):
        seconds = (container.get(name) or {}).get("terminationGracePeriodSeconds")
        if seconds is None:
            continue
        field = f"{at}.{name}.terminationGracePeriodSeconds"
        if name == "readinessProbe":
            yield invalid(field, seconds, "must not be set for readinessProbes")
        elif seconds <= 0:
            yield invalid(field, seconds, "must be greater than 0")
    for name in ("postStart", "preStop"):
        hook = ((container.get("lifecycle") or {}).get(name)) or {}
        seconds = (hook.get("sleep") or {}).get("seconds")
        if seconds is not None and not 0 <= seconds <= grace:
            says = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
            yield invalid(f"{at}.lifecycle.{name}.sleep", seconds, says)
