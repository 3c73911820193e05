"""Rules of what a Pod says of names and of itself: hosts, DNS, sysctls, references in variables."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from jindou.control.api.rules.names import duplicate, invalid, required, subdomain, unsupported
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

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
        if source and entry.get("value"):
            yield invalid(field, "", "may not be specified when `value` is not empty")
        if source.get("fieldRef") is not None:
            yield from _field(source["fieldRef"].get("fieldPath") or "", f"{field}.fieldRef.fieldPath")  # fmt: skip
        for name in ("configMapKeyRef", "secretKeyRef"):
            if source.get(name) is not None and not source[name].get("key"):
                yield required(f"{field}.{name}.key")
    for n, source in enumerate(container.get("envFrom") or ()):
        named = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
        if not named:
            says = "must specify one of: `configMapRef` or `secretRef`"
            yield invalid(f"{at}.envFrom[{n}]", "", says)
        elif len(named) > 1:
            says = "may not have more than one field specified at a time"
            yield invalid(f"{at}.envFrom[{n}]", "", says)
        elif not source[named[0]].get("name"):
            yield required(f"{at}.envFrom[{n}].{named[0]}.name")


def _field(path: str, at: str) -> Iterator[Fault]:
    if not path:
        yield required(at)
    elif path in IN_VARIABLES or PART.fullmatch(path):
        return
    elif path not in KNOWN_FIELDS:
        says = f"error converting fieldPath: field label not supported: {path}"
        yield invalid(at, path, says)
    else:
        yield unsupported(at, path, IN_VARIABLES)
