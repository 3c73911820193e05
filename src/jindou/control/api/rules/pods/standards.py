"""The checks of the Pod Security Standards: each gives why it refuses and the particulars. Pure.

Which of them belong to which level and version is told in `pod_levels`.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jindou.objects.kinds import Object

Spec = Mapping[str, Any]
Finding = tuple[str, str] | None  # why in short, and the particulars
Check = Callable[[Object, Spec], Finding]

CAPABILITIES = frozenset(
    ("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
     "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")
)  # fmt: skip
SYSCTLS = {
    0: "kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.tcp_syncookies "
    "net.ipv4.ping_group_range net.ipv4.ip_unprivileged_port_start",
    27: "net.ipv4.ip_local_reserved_ports",
    29: "net.ipv4.tcp_keepalive_time net.ipv4.tcp_fin_timeout net.ipv4.tcp_keepalive_intvl "
    "net.ipv4.tcp_keepalive_probes",
    32: "net.ipv4.tcp_rmem net.ipv4.tcp_wmem",
    37: "net.ipv4.tcp_slow_start_after_idle net.ipv4.tcp_notsent_lowat",
}
VOLUMES = frozenset(
    ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim",
     "projected", "secret")
)  # fmt: skip
SELINUX = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))
CONFINED = ("RuntimeDefault", "Localhost")
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_OF = "container.seccomp.security.alpha.kubernetes.io/"


def containers(spec: Spec) -> Iterator[tuple[str, Object, Object]]:
    """Name, container, security context."""
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(part) or ():
            yield container.get("name", ""), container, container.get("securityContext") or {}


def shared(spec: Spec) -> Object:
    held: Object = spec.get("securityContext") or {}
    return held


def quoted(words: Iterable[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def many(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def named(names: list[str]) -> str:
    return f"{many('container', len(names))} {quoted(names)}"


def who(pod: bool, names: list[str]) -> str:
    return " and ".join([*(["pod"] if pod else []), *([named(names)] if names else [])])


# ---------------------------------------------------------------- baseline


def app_armor(meta: Object, spec: Spec) -> Finding:
    def bad(context: Object) -> str | None:
        held = context.get("appArmorProfile")
        kind = (held or {}).get("type", "")
        return kind if held is not None and kind not in CONFINED else None

    values = {bad(context) for _, _, context in containers(spec)} | {bad(shared(spec))}
    setters = who(
        bad(shared(spec)) is not None,
        [name for name, _, context in containers(spec) if bad(context) is not None],
    )
    notes = sorted(
        f"{key}={json.dumps(value)}"
        for key, value in (meta.get("annotations") or {}).items()
        if key.startswith(APPARMOR)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    if not setters and not notes:
        return None
    told = [*sorted(value for value in values if value is not None), *notes]
    if notes:
        setters = " and ".join(filter(None, (setters, many("annotation", len(notes)))))
    says = f"{setters} must not set AppArmor profile type to {quoted(told)}"
    return many("forbidden AppArmor profile", len(told)), says


def added_capabilities(meta: Object, spec: Spec) -> Finding:
    found = {
        name: set((context.get("capabilities") or {}).get("add") or ()) - CAPABILITIES
        for name, _, context in containers(spec)
    }
    names = [name for name, more in found.items() if more]
    if not names:
        return None
    told = quoted(sorted(set().union(*found.values())))
    says = f"{named(names)} must not include {told} in securityContext.capabilities.add"
    return "non-default capabilities", says


def host_namespaces(meta: Object, spec: Spec) -> Finding:
    held = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return ("host namespaces", ", ".join(held)) if held else None


def host_paths(meta: Object, spec: Spec) -> Finding:
    names = [v["name"] for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    if not names:
        return None
    return "hostPath volumes", f"{many('volume', len(names))} {quoted(names)}"


def host_ports(meta: Object, spec: Spec) -> Finding:
    found = {
        name: {str(p["hostPort"]) for p in container.get("ports") or () if p.get("hostPort")}
        for name, container, _ in containers(spec)
    }
    names = [name for name, ports in found.items() if ports]
    if not names:
        return None
    ports = sorted(set().union(*found.values()))
    use = "uses" if len(names) == 1 else "use"
    return "hostPort", f"{named(names)} {use} {many('hostPort', len(ports))} {', '.join(ports)}"


def probed_hosts(meta: Object, spec: Spec) -> Finding:
    found: dict[str, set[str]] = {}
    for name, container, _ in containers(spec):
        hooks = container.get("lifecycle") or {}
        actions = [container.get(f"{p}Probe") for p in ("liveness", "readiness", "startup")]
        for action in filter(None, [*actions, hooks.get("postStart"), hooks.get("preStop")]):
            for way in ("httpGet", "tcpSocket"):
                if host := (action.get(way) or {}).get("host"):
                    found.setdefault(name, set()).add(host)
    if not found:
        return None
    hosts, names = sorted(set().union(*found.values())), sorted(found)
    use = "uses" if len(names) == 1 else "use"
    what = many("probe or lifecycle host", len(hosts))
    return "probe or lifecycle host", f"{named(names)} {use} {what} {quoted(hosts)}"


def privileged(meta: Object, spec: Spec) -> Finding:
    names = [name for name, _, context in containers(spec) if context.get("privileged")]
    if not names:
        return None
    return "privileged", f"{named(names)} must not set securityContext.privileged=true"


def proc_mount(meta: Object, spec: Spec) -> Finding:
    held = [(name, context.get("procMount")) for name, _, context in containers(spec)]
    bad = [(name, kind) for name, kind in held if kind not in (None, "Default")]
    if not bad:
        return None
    kinds = quoted(sorted({str(kind) for _, kind in bad}))
    names = named([name for name, _ in bad])
    return "procMount", f"{names} must not set securityContext.procMount to {kinds}"


def selinux(more: frozenset[str], meta: Object, spec: Spec) -> Finding:
    allowed, types, parts = SELINUX | more, set(), set()

    def bad(context: Object) -> bool:
        options = context.get("seLinuxOptions") or {}
        wrong = options.get("type", "") not in allowed
        if wrong:
            types.add(options["type"])
        given = {part for part in ("user", "role") if options.get(part)}
        parts.update(given)
        return wrong or bool(given)

    setters = who(bad(shared(spec)), [name for name, _, c in containers(spec) if bad(c)])
    if not setters:
        return None
    told = [f"{many('type', len(types))} {quoted(sorted(types))}"] if types else []
    told += [f"{part} may not be set" for part in ("user", "role") if part in parts]
    says = f"{setters} set forbidden securityContext.seLinuxOptions: {'; '.join(told)}"
    return "seLinuxOptions", says


def seccomp_notes(meta: Object, spec: Spec) -> Finding:
    notes = meta.get("annotations") or {}
    keys = [SECCOMP, *(SECCOMP_OF + name for name, _, _ in containers(spec))]
    bad = sorted(
        f"{key}={json.dumps(notes[key])}"
        for key in dict.fromkeys(keys)
        if key in notes
        and notes[key] not in ("runtime/default", "docker/default")
        and not notes[key].startswith("localhost/")
    )
    if not bad:
        return None
    return "seccompProfile", f"forbidden {many('annotation', len(bad))} {', '.join(bad)}"


def seccomp(required: bool, meta: Object, spec: Spec) -> Finding:
    """No other profile than these; `required`: one of them, for each container."""

    def kind(context: Object) -> str | None:
        held = context.get("seccompProfile")
        return None if held is None else held.get("type", "")

    own = kind(shared(spec))
    held = [(name, kind(context)) for name, _, context in containers(spec)]
    bad = [name for name, value in held if value is not None and value not in CONFINED]
    wrong = own is not None and own not in CONFINED
    if bad or wrong:
        values = {v for v in (own, *(v for _, v in held)) if v is not None and v not in CONFINED}
        says = f"{who(wrong, bad)} must not set securityContext.seccompProfile.type to {quoted(sorted(values))}"
        return "seccompProfile", says
    silent = [name for name, value in held if value is None]
    if not required or own is not None or not silent:
        return None
    says = f'pod or {named(silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return "seccompProfile", says


def sysctls(version: int, meta: Object, spec: Spec) -> Finding:
    allowed = {n for since, names in SYSCTLS.items() if since <= version for n in names.split()}
    bad = [s["name"] for s in shared(spec).get("sysctls") or () if s.get("name") not in allowed]
    return ("forbidden sysctls", ", ".join(bad)) if bad else None


def host_process(meta: Object, spec: Spec) -> Finding:
    def bad(context: Object) -> bool:
        return bool((context.get("windowsOptions") or {}).get("hostProcess"))

    setters = who(bad(shared(spec)), [name for name, _, c in containers(spec) if bad(c)])
    says = f"{setters} must not set securityContext.windowsOptions.hostProcess=true"
    return ("hostProcess", says) if setters else None


# ---------------------------------------------------------------- restricted


def escalation(meta: Object, spec: Spec) -> Finding:
    names = [
        name for name, _, c in containers(spec) if c.get("allowPrivilegeEscalation") is not False
    ]
    if not names:
        return None
    says = f"{named(names)} must set securityContext.allowPrivilegeEscalation=false"
    return "allowPrivilegeEscalation != false", says


def dropped_capabilities(meta: Object, spec: Spec) -> Finding:
    keeping, adding, more = [], [], set()
    for name, _, context in containers(spec):
        held = context.get("capabilities") or {}
        if "ALL" not in (held.get("drop") or ()):
            keeping.append(name)
        if added := set(held.get("add") or ()) - {"NET_BIND_SERVICE"}:
            adding.append(name)
            more |= added
    told = []
    if keeping:
        told.append(f'{named(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        told.append(
            f"{named(adding)} must not include {quoted(sorted(more))} in securityContext.capabilities.add"
        )
    return ("unrestricted capabilities", "; ".join(told)) if told else None


def volume_types(meta: Object, spec: Spec) -> Finding:
    bad = [v for v in spec.get("volumes") or () if not VOLUMES.intersection(v)]
    if not bad:
        return None
    types = sorted({next((key for key in v if key != "name"), "unknown") for v in bad})
    use = "uses" if len(bad) == 1 else "use"
    what = many("restricted volume type", len(types))
    names = f"{many('volume', len(bad))} {quoted(v['name'] for v in bad)}"
    return "restricted volume types", f"{names} {use} {what} {quoted(types)}"


def non_root(meta: Object, spec: Spec) -> Finding:
    own = shared(spec).get("runAsNonRoot")
    held = [(name, context.get("runAsNonRoot")) for name, _, context in containers(spec)]
    bad = [name for name, value in held if value is False]
    reason = "runAsNonRoot != true"
    if own is False or bad:
        return reason, f"{who(own is False, bad)} must not set securityContext.runAsNonRoot=false"
    silent = [name for name, value in held if value is None]
    if own or not silent:
        return None
    return reason, f"pod or {named(silent)} must set securityContext.runAsNonRoot=true"


def not_zero(meta: Object, spec: Spec) -> Finding:
    names = [name for name, _, context in containers(spec) if context.get("runAsUser") == 0]
    setters = who(shared(spec).get("runAsUser") == 0, names)
    return ("runAsUser=0", f"{setters} must not set runAsUser=0") if setters else None
