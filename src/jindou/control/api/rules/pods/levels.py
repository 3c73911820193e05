"""The levels of the Pod Security Standards, as of each version: which checks a Pod has to pass. Pure.

The stricter checks of "restricted" take the place of their weaker kin of "baseline".
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, partial
from typing import NamedTuple

from jindou.control.api.rules.pods import standards as checks
from jindou.control.api.rules.pods.standards import Check, Finding, Spec
from jindou.objects.kinds import Object

NEWEST = 37  # the last minor version that brought a change


def unless_windows(check: Check) -> Check:
    def judged(meta: Object, spec: Spec) -> Finding:
        return None if (spec.get("os") or {}).get("name") == "windows" else check(meta, spec)

    return judged


def unless_own_users(check: Check) -> Check:
    """In a user namespace of its own a Pod's root is nobody outside."""

    def judged(meta: Object, spec: Spec) -> Finding:
        return None if spec.get("hostUsers") is False else check(meta, spec)

    return judged


class Rule(NamedTuple):
    """`versions`: from which minor version on the check is which; `instead` names what it replaces."""

    name: str
    versions: tuple[tuple[int, Check], ...]
    instead: str = ""


BASELINE = (
    Rule("appArmorProfile", ((0, checks.app_armor),)),
    Rule("capabilities", ((0, checks.added_capabilities),)),
    Rule("hostNamespaces", ((0, checks.host_namespaces),)),
    Rule("hostPathVolumes", ((0, checks.host_paths),)),
    Rule("hostPorts", ((0, checks.host_ports),)),
    Rule("hostProbesAndHostLifecycle", ((34, checks.probed_hosts),)),
    Rule("privileged", ((0, checks.privileged),)),
    Rule("procMount", ((0, checks.proc_mount), (35, unless_own_users(checks.proc_mount)))),
    Rule(
        "seLinuxOptions",
        (
            (0, partial(checks.selinux, frozenset())),
            (31, partial(checks.selinux, frozenset({"container_engine_t"}))),
        ),
    ),
    Rule("seccompProfile", ((0, checks.seccomp_notes), (19, partial(checks.seccomp, False)))),
    Rule("sysctls", tuple((since, partial(checks.sysctls, since)) for since in checks.SYSCTLS)),
    Rule("windowsHostProcess", ((0, checks.host_process),)),
)
RESTRICTED = (
    Rule(
        "allowPrivilegeEscalation",
        ((8, checks.escalation), (25, unless_windows(checks.escalation))),
    ),
    Rule(
        "capabilities_restricted",
        ((22, checks.dropped_capabilities), (25, unless_windows(checks.dropped_capabilities))),
        "capabilities",
    ),
    Rule("procMount_restricted", ((35, checks.proc_mount),), "procMount"),
    Rule("restrictedVolumes", ((0, checks.volume_types),), "hostPathVolumes"),
    Rule("runAsNonRoot", ((0, checks.non_root), (35, unless_own_users(checks.non_root)))),
    Rule("runAsUser", ((23, checks.not_zero), (35, unless_own_users(checks.not_zero)))),
    Rule(
        "seccompProfile_restricted",
        ((19, partial(checks.seccomp, True)), (25, unless_windows(partial(checks.seccomp, True)))),
        "seccompProfile",
    ),
)


@lru_cache(128)
def checks_of(level: str, version: int) -> tuple[Check, ...]:
    def active(rules: Iterable[Rule]) -> dict[str, tuple[Rule, Check]]:
        found = {}
        for rule in rules:
            held = [check for since, check in rule.versions if since <= version]
            if held:
                found[rule.name] = rule, held[-1]
        return found

    if level == "privileged":
        return ()
    chosen = active(BASELINE)
    if level == "restricted":
        strict = active(RESTRICTED)
        replaced = {rule.instead for rule, _ in strict.values()}
        chosen = {name: held for name, held in chosen.items() if name not in replaced} | strict
    return tuple(check for _, check in chosen.values())


def findings(level: str, version: int | None, meta: Object, spec: Spec) -> list[tuple[str, str]]:
    """`version` None: the newest."""
    number = NEWEST if version is None else min(version, NEWEST)
    return [found for check in checks_of(level, number) if (found := check(meta, spec))]


def told(found: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{reason} ({says})" if says else reason for reason, says in found)
