"""Rules of APIServices. Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/api-service-v1/"""

from __future__ import annotations

from jindou.control.api.rules.names import invalid, label_1035, required, subdomain
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object


def api_service(obj: Object) -> list[Fault]:
    spec, found = obj.get("spec") or {}, []
    group, version = spec.get("group", ""), spec.get("version", "")
    name, wanted = obj["metadata"].get("name", ""), f"{version}.{group}"
    if name != wanted:
        says = f'must be `spec.version+"."+spec.group`: "{wanted}"'
        found.append(invalid("metadata.name", name, says))
    if group and (wrong := subdomain(group)):
        found.append(invalid("spec.group", group, wrong))
    if wrong := label_1035(version):
        found.append(invalid("spec.version", version, wrong))
    for field, most in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(field, 0)
        if not 0 < value <= most:
            says = f"must be positive and less than {most}"
            found.append(invalid(f"spec.{field}", value, says))
    return found + _service(spec)


def _service(spec: Object) -> list[Fault]:
    service = spec.get("service")
    insecure, authority = bool(spec.get("insecureSkipTLSVerify")), spec.get("caBundle")
    at = "spec.insecureSkipTLSVerify"
    if service is None:
        found = []
        if authority:
            says = "local APIServices may not have a caBundle"
            found.append(invalid("spec.caBundle", f"{len(authority)} bytes", says))
        if insecure:
            found.append(invalid(at, True, "local APIServices may not have insecureSkipTLSVerify"))
        return found
    found = [
        required(f"spec.service.{part}") for part in ("namespace", "name") if not service.get(part)
    ]
    port = service.get("port")
    if port is not None and not 1 <= port <= 65535:
        says = "port is not valid: must be between 1 and 65535, inclusive"
        found.append(invalid("spec.service.port", port, says))
    if insecure and authority:
        found.append(invalid(at, True, "may not be true if caBundle is present"))
    return found
