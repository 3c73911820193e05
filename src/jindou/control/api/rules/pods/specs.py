"""Rules of Pods and pod templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jindou.control.api.rules.essence import remembered
from jindou.control.api.rules.names import (
    ENV_NAME,
    PORT_NAME,
    duplicate,
    forbidden,
    invalid,
    label,
    labels,
    not_found,
    required,
    subdomain,
    unsupported,
)  # fmt: skip
from jindou.control.api.rules.placement import placement
from jindou.control.api.rules.pods.host_ports import host_ports
from jindou.control.api.rules.pods.names import pod_names
from jindou.control.api.rules.pods.probes import HOOKS, handler_faults, probe_faults
from jindou.control.api.rules.pods.security import pod_security
from jindou.control.api.rules.pods.volumes import DEVICES, device_faults, mounts, volume_faults
from jindou.objects import quantities
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

PROTOCOLS = ("TCP", "UDP", "SCTP")
PULL = ("Always", "IfNotPresent", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
PREEMPTIONS = ("PreemptLowerPriority", "Never")
RESTARTS = ("Always", "OnFailure", "Never")
MESSAGES = ("File", "FallbackToLogsOnError")


def validate(pod: Object) -> list[Fault]:
    return spec(pod.get("spec") or {}, "spec")


@remembered
def spec(held: Object, at: str) -> list[Fault]:
    found: list[Fault] = []
    volumes = volume_names(held.get("volumes") or (), f"{at}.volumes", found)
    seen: set[str] = set()
    if not held.get("containers"):
        found.append(required(f"{at}.containers"))
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for n, container in enumerate(held.get(part) or ()):
            field = f"{at}.{part}[{n}]"
            name = container.get("name", "")
            if name in seen:
                found.append(duplicate(f"{field}.name", name))
            seen.add(name)
            found += container_faults(container, field, volumes, part)
    for rule in (host_ports, pod_names, placement, mounts, pod_security):
        found += rule(held, at)
    if held.get("restartPolicy") not in (None, *RESTARTS):
        at_policy = f"{at}.restartPolicy"
        found.append(unsupported(at_policy, held["restartPolicy"], RESTARTS, ordered=False))
    if held.get("dnsPolicy") not in (None, *DNS_POLICIES):
        found.append(unsupported(f"{at}.dnsPolicy", held["dnsPolicy"], DNS_POLICIES, ordered=False))
    if held.get("dnsPolicy") == "None" and held.get("dnsConfig") is None:
        says = "must provide `dnsConfig` when `dnsPolicy` is None"
        found.append(required(f"{at}.dnsConfig", says))
    elif held.get("dnsPolicy") == "None" and not held["dnsConfig"].get("nameservers"):
        found.append(
            required(
                f"{at}.dnsConfig.nameservers",
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            )
        )
    if (preemption := held.get("preemptionPolicy")) == "":
        found.append(required(f"{at}.preemptionPolicy"))
    elif preemption not in (None, *PREEMPTIONS):
        at_policy = f"{at}.preemptionPolicy"
        found.append(unsupported(at_policy, preemption, PREEMPTIONS, ordered=False))
    seconds = held.get("activeDeadlineSeconds")
    if seconds is not None and not 1 <= seconds <= 2147483647:
        found.append(
            invalid(
                f"{at}.activeDeadlineSeconds",
                seconds,
                "must be between 1 and 2147483647, inclusive",
            )
        )
    for name in ("hostname", "subdomain"):
        if held.get(name) and (wrong := label(held[name])):
            found.append(invalid(f"{at}.{name}", held[name], wrong))
    if held.get("serviceAccountName") and (wrong := subdomain(held["serviceAccountName"])):
        found.append(invalid(f"{at}.serviceAccountName", held["serviceAccountName"], wrong))
    if held.get("nodeName") and (wrong := subdomain(held["nodeName"])):
        found.append(invalid(f"{at}.nodeName", held["nodeName"], wrong))
    found += labels(held.get("nodeSelector"), f"{at}.nodeSelector")
    return found


def volume_names(volumes: Sequence[Object], at: str, found: list[Fault]) -> dict[str, bool]:
    """Those of the volumes in which nothing is wrong (containers can mount no others), and whether
    they may be used as devices."""
    seen: dict[str, bool] = {}
    for n, volume in enumerate(volumes):
        name = volume.get("name", "")
        faults = list(volume_faults(volume, f"{at}[{n}]"))
        if not name:
            faults.append(required(f"{at}[{n}].name"))
        elif wrong := label(name):
            faults.append(invalid(f"{at}[{n}].name", name, wrong))
        elif name in seen:
            faults.append(duplicate(f"{at}[{n}].name", name))
        if faults:
            found += faults
        else:
            seen[name] = not DEVICES.isdisjoint(volume)
    return seen


def container_faults(
    container: Object, at: str, volumes: Mapping[str, bool], part: str
) -> list[Fault]:
    found: list[Fault] = []
    name = container.get("name", "")
    if not name:
        found.append(required(f"{at}.name"))
    elif wrong := label(name):
        found.append(invalid(f"{at}.name", name, wrong))
    image = container.get("image", "")
    if not image:
        found.append(required(f"{at}.image"))
    elif image != image.strip():
        found.append(invalid(f"{at}.image", image, "must not have leading or trailing whitespace"))
    if container.get("imagePullPolicy") not in (None, *PULL):
        found.append(unsupported(f"{at}.imagePullPolicy", container["imagePullPolicy"], PULL))
    policy = container.get("terminationMessagePolicy")
    if policy not in (None, *MESSAGES):
        found.append(unsupported(f"{at}.terminationMessagePolicy", policy, MESSAGES, ordered=False))
    found += port_faults(container.get("ports") or (), f"{at}.ports")
    found += env_faults(container.get("env") or (), f"{at}.env")
    paths: set[str] = set()
    for n, mount in enumerate(container.get("volumeMounts") or ()):
        field = f"{at}.volumeMounts[{n}]"
        if not mount.get("name"):
            found.append(required(f"{field}.name"))
        if mount.get("name", "") not in volumes:
            found.append(not_found(f"{field}.name", mount.get("name", "")))
        path = mount.get("mountPath", "")
        if not path:
            found.append(required(f"{field}.mountPath"))
        elif path in paths:
            found.append(invalid(f"{field}.mountPath", path, "must be unique"))
        paths.add(path)
        sub = mount.get("subPath", "")
        if sub.startswith("/"):
            found.append(invalid(f"{field}.subPath", sub, "must be a relative path"))
        elif ".." in sub.split("/"):
            found.append(invalid(f"{field}.subPath", sub, "must not contain '..'"))
    if container.get("volumeDevices"):
        found += device_faults(container, at, volumes)
    found += resource_faults(container.get("resources") or {}, f"{at}.resources")
    again = container.get("restartPolicy")
    if again is not None and again not in RESTARTS:
        found.append(unsupported(f"{at}.restartPolicy", again, RESTARTS))
    restartable = container.get("restartPolicy") == "Always"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe) is not None:
            if part == "initContainers" and not restartable:
                found.append(
                    forbidden(
                        f"{at}.{probe}",
                        "may not be set for init containers without restartPolicy=Always",
                    )
                )
            found += probe_faults(container[probe], f"{at}.{probe}", probe)
    for hook, action in (container.get("lifecycle") or {}).items():
        if isinstance(action, dict):
            found += handler_faults(action, f"{at}.lifecycle.{hook}", HOOKS)
    return found


def port_faults(ports: Sequence[Object], at: str) -> list[Fault]:
    found: list[Fault] = []
    seen: set[str] = set()
    for n, port in enumerate(ports):
        name = port.get("name")
        if name:
            if len(name) > 15:
                found.append(invalid(f"{at}[{n}].name", name, "must be no more than 15 characters"))
            elif not PORT_NAME.fullmatch(name) or "--" in name:
                found.append(
                    invalid(
                        f"{at}[{n}].name",
                        name,
                        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                    )
                )
            elif not any(c.isalpha() for c in name):
                found.append(
                    invalid(f"{at}[{n}].name", name, "must contain at least one letter (a-z)")
                )
            elif name in seen:
                found.append(duplicate(f"{at}[{n}].name", name))
            seen.add(name)
        number = port.get("containerPort")
        if not number:
            found.append(required(f"{at}[{n}].containerPort"))
        elif not 1 <= number <= 65535:
            found.append(
                invalid(
                    f"{at}[{n}].containerPort", number, "must be between 1 and 65535, inclusive"
                )
            )
        if port.get("hostPort") and not 1 <= port["hostPort"] <= 65535:
            found.append(
                invalid(
                    f"{at}[{n}].hostPort",
                    port["hostPort"],
                    "must be between 1 and 65535, inclusive",
                )
            )
        if port.get("protocol", "TCP") not in PROTOCOLS:
            found.append(unsupported(f"{at}[{n}].protocol", port["protocol"], PROTOCOLS))
    return found


def env_faults(env: Sequence[Object], at: str) -> list[Fault]:
    found: list[Fault] = []
    for n, entry in enumerate(env):
        name = entry.get("name", "")
        if not name:
            found.append(required(f"{at}[{n}].name"))
        elif not ENV_NAME.fullmatch(name):
            found.append(
                invalid(
                    f"{at}[{n}].name",
                    name,
                    "a valid environment variable name must consist only of printable ASCII characters other than '='",
                )
            )
        source = entry.get("valueFrom")
        if source is not None:
            kinds = [
                kind
                for kind in (
                    "fieldRef",
                    "resourceFieldRef",
                    "configMapKeyRef",
                    "secretKeyRef",
                    "fileKeyRef",
                )
                if source.get(kind)
            ]
            if not kinds:
                found.append(
                    invalid(
                        f"{at}[{n}].valueFrom",
                        "",
                        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
                    )
                )
            elif len(kinds) > 1:
                found.append(
                    invalid(
                        f"{at}[{n}].valueFrom",
                        "",
                        "may not have more than one field specified at a time",
                    )
                )
            if entry.get("value"):
                found.append(
                    invalid(
                        f"{at}[{n}].valueFrom", "", "may not be specified when `value` is not empty"
                    )
                )
    return found


def resource_faults(resources: Object, at: str) -> list[Fault]:
    found: list[Fault] = []
    amounts: dict[str, dict[str, Any]] = {"limits": {}, "requests": {}}
    for part, held in amounts.items():
        for name, text in (resources.get(part) or {}).items():
            field = f"{at}.{part}[{name}]"
            try:
                held[name] = quantities.parse(text)
            except quantities.BadQuantity as error:
                found.append(invalid(field, text, str(error)))
                continue
            if held[name] < 0:
                found.append(invalid(field, text, "must be greater than or equal to 0"))
            if (
                "/" not in name
                and name not in ("cpu", "memory", "ephemeral-storage")
                and not name.startswith("hugepages-")
            ):
                found.append(
                    invalid(field, name, "must be a standard resource type or fully qualified")
                )
    for name, amount in amounts["requests"].items():
        limit = amounts["limits"].get(name)
        if limit is not None and amount > limit:
            shown = resources["requests"][name]
            found.append(
                invalid(
                    f"{at}.requests",
                    shown,
                    f"must be less than or equal to {name} limit of {resources['limits'][name]}",
                )
            )
        elif limit is None and "/" in name:
            found.append(
                required(
                    f"{at}.limits[{name}]", "Limit must be set for non overcommitable resources"
                )
            )
    return found


def template(held: Object | None, at: str) -> list[Fault]:
    held = held or {}
    found = labels((held.get("metadata") or {}).get("labels"), f"{at}.labels")
    return found + spec(held.get("spec") or {}, f"{at}.spec")
