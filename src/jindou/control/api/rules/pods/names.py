"""Rules of what a Pod says of names and of itself: hosts, DNS, sysctls, references in variables."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from jindou.control.api.rules.names import (
    data_key,
    duplicate,
    invalid,
    required,
    subdomain,
    unsupported,
)
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object
from jindou.objects.quantities import canonical

SAYS_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
SYSCTL = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
IN_VARIABLES = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
KNOWN_FIELDS = (
    *IN_VARIABLES, "metadata.annotations", "metadata.labels", "spec.hostNetwork", "spec.restartPolicy",
    "spec.schedulerName", "status.phase",
)  # fmt: skip
RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu",
    "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
DIVISORS = ("1", *(f"1{unit}{i}" for i in ("", "i") for unit in ("k" if not i else "K", *"MGTPE")))
DIVIDED = {
    "cpu": "cpu", "memory": "memory", "ephemeral-storage": "local ephemeral storage",
    "hugepages": "hugepages",
}  # fmt: skip
HUGE = ("limits.hugepages-", "requests.hugepages-")
PART = re.compile(r"metadata\.(annotations|labels)\['.+'\]")


def pod_names(spec: Object, at: str) -> Iterator[Fault]:
    for n, alias in enumerate(spec.get("hostAliases") or ()):
        yield from _address(alias.get("ip") or "", f"{at}.hostAliases[{n}].ip")
        for m, name in enumerate(alias.get("hostnames") or ()):
            if wrong := subdomain(name):
                yield invalid(f"{at}.hostAliases[{n}].hostnames[{m}]", name, wrong)
    yield from _dns(spec.get("dnsConfig") or {}, f"{at}.dnsConfig")
    yield from _sysctls(spec, f"{at}.securityContext.sysctls")
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for n, container in enumerate(spec.get(part) or ()):
            yield from _references(container, f"{at}.{part}[{n}]")


def _address(text: str, at: str) -> Iterator[Fault]:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        yield invalid(at, text, SAYS_ADDRESS)


def _dns(held: Object, at: str) -> Iterator[Fault]:
    servers, searches = held.get("nameservers") or (), held.get("searches") or ()
    if len(servers) > 3:
        yield invalid(f"{at}.nameservers", servers, "must not have more than 3 nameservers")
    for n, server in enumerate(servers):
        yield from _address(server, f"{at}.nameservers[{n}]")
    if len(searches) > 32:
        yield invalid(f"{at}.searches", searches, "must not have more than 32 search paths")
    if len(" ".join(searches)) > 2048:
        says = "must not have more than 2048 characters (including spaces) in the search list"
        yield invalid(f"{at}.searches", searches, says)
    for n, search in enumerate(searches):
        plain = search.removesuffix(".").replace("_", "-")
        if search != "." and (wrong := subdomain(plain.strip("-") if "_" in search else plain)):
            yield invalid(f"{at}.searches[{n}]", search, wrong)
    for n, option in enumerate(held.get("options") or ()):
        if not option.get("name"):
            yield required(f"{at}.options[{n}]", "must not be empty")


def _sysctls(spec: Object, at: str) -> Iterator[Fault]:
    seen: set[str] = set()
    for n, entry in enumerate((spec.get("securityContext") or {}).get("sysctls") or ()):
        name = entry.get("name") or ""
        if not name:
            yield required(f"{at}[{n}].name")
        elif len(name) > 253 or not re.fullmatch(SYSCTL, name):
            says = f"must have at most 253 characters and match regex {SYSCTL}"
            yield invalid(f"{at}[{n}].name", name, says)
        elif name.replace("/", ".") in seen:
            yield duplicate(f"{at}[{n}].name", name)
        seen.add(name.replace("/", "."))


def _references(container: Object, at: str) -> Iterator[Fault]:
    for n, entry in enumerate(container.get("env") or ()):
        source = entry.get("valueFrom") or {}
        field = f"{at}.env[{n}].valueFrom"
        if source.get("fieldRef") is not None:
            yield from field_reference(source["fieldRef"], f"{field}.fieldRef", IN_VARIABLES)
        if source.get("resourceFieldRef") is not None:
            held, place = source["resourceFieldRef"], f"{field}.resourceFieldRef"
            yield from resource_reference(held, place, outside=False)
        for name in ("configMapKeyRef", "secretKeyRef"):
            if source.get(name) is not None:
                yield from _key(source[name], f"{field}.{name}")
    for n, source in enumerate(container.get("envFrom") or ()):
        named = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
        for one in named:
            name, field = source[one].get("name") or "", f"{at}.envFrom[{n}].{one}.name"
            if not name:
                yield required(field)
            elif wrong := subdomain(name):
                yield invalid(field, name, wrong)
        if not named:
            says = "must specify one of: `configMapRef` or `secretRef`"
            yield invalid(f"{at}.envFrom", "", says)
        elif len(named) > 1:
            says = "may not have more than one field specified at a time"
            yield invalid(f"{at}.envFrom", "", says)


def _key(held: Object, at: str) -> Iterator[Fault]:
    """Of a ConfigMap or Secret."""
    name, key = held.get("name") or "", held.get("key") or ""
    if wrong := subdomain(name):
        yield invalid(f"{at}.name", name, wrong)
    if not key:
        yield required(f"{at}.key")
    elif wrong := data_key(key):
        yield invalid(f"{at}.key", key, wrong)


def field_reference(held: Object, at: str, allowed: Sequence[str]) -> Iterator[Fault]:
    """A field of the Pod itself that is to be known inside of it."""
    version, path = held.get("apiVersion", "v1"), held.get("fieldPath") or ""
    if not version:
        yield required(f"{at}.apiVersion")
    elif not path:
        yield required(f"{at}.fieldPath")
    elif version != "v1":
        says = f"error converting fieldPath: unsupported pod version: {version}"
        yield invalid(f"{at}.fieldPath", path, says)
    elif path in allowed or PART.fullmatch(path):
        return
    elif path not in KNOWN_FIELDS:
        says = f"error converting fieldPath: field label not supported: {path}"
        yield invalid(f"{at}.fieldPath", path, says)
    else:
        yield unsupported(f"{at}.fieldPath", path, allowed)


def resource_reference(held: Object, at: str, *, outside: bool) -> Iterator[Fault]:
    """`outside` of a container, which then has to be named."""
    name = held.get("resource") or ""
    if outside and not held.get("containerName"):
        yield required(f"{at}.containerName")
    elif not name:
        yield required(f"{at}.resource")
    elif name not in RESOURCES and not name.startswith(HUGE):
        yield unsupported(f"{at}.resource", name, RESOURCES)
    elif (divisor := canonical(held.get("divisor") or "0")) != "0":
        known = ("1m", "1") if name.endswith("cpu") else DIVISORS
        if divisor not in known:
            word = next(told for part, told in DIVIDED.items() if part in name)
            says = f"only divisor's values {', '.join(known[:-1])} and {known[-1]}" if name.endswith("cpu") else f"only divisor's values {', '.join(known)}"  # fmt: skip
            yield invalid(f"{at}.divisor", name, f"{says} are supported with the {word} resource")
