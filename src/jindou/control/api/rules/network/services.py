"""Rules of Services."""

from __future__ import annotations

import ipaddress

from jindou.control.api.rules.names import (
    duplicate,
    forbidden,
    invalid,
    label,
    labels,
    port_name,
    qualified,
    required,
    subdomain,
    unqualified,
    unsupported,
)
from jindou.control.api.rules.pods.specs import PROTOCOLS
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
NEAR = ("PreferClose", "PreferSameZone", "PreferSameNode")
TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")


def validate(service: Object) -> list[Fault]:
    spec = service.get("spec") or {}
    found: list[Fault] = []
    kind = spec.get("type", "ClusterIP")
    if kind not in TYPES:
        found.append(unsupported("spec.type", kind, TYPES))
    headless = spec.get("clusterIP") == "None"
    ports = spec.get("ports") or ()
    if not ports and not headless and kind != "ExternalName":
        found.append(required("spec.ports"))
    if kind == "ExternalName":
        name = spec.get("externalName", "")
        if not name:
            found.append(required("spec.externalName"))
        elif wrong := subdomain(name.rstrip(".").lower()):
            found.append(invalid("spec.externalName", name, wrong))
    if headless and kind in ("NodePort", "LoadBalancer"):
        found.append(
            invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
        )
    seen_names: set[str] = set()
    seen_ports: set[tuple[int, str]] = set()
    for n, port in enumerate(ports):
        at = f"spec.ports[{n}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            found.append(required(f"{at}.name"))
        elif name and (wrong := label(name)):
            found.append(invalid(f"{at}.name", name, wrong))
        elif name and name in seen_names:
            found.append(duplicate(f"{at}.name", name))
        seen_names.add(name)
        number = port.get("port", 0)
        if not 1 <= number <= 65535:
            found.append(invalid(f"{at}.port", number, "must be between 1 and 65535, inclusive"))
        protocol = port.get("protocol", "TCP")
        if protocol not in PROTOCOLS:
            found.append(unsupported(f"{at}.protocol", protocol, PROTOCOLS))
        if (number, protocol) in seen_ports:
            found.append(duplicate(at, {"port": number, "protocol": protocol}))
        seen_ports.add((number, protocol))
        target = port.get("targetPort")
        if isinstance(target, int) and not 1 <= target <= 65535:
            found.append(
                invalid(f"{at}.targetPort", target, "must be between 1 and 65535, inclusive")
            )
        elif isinstance(target, str) and target and (wrong := port_name(target)):
            found.append(invalid(f"{at}.targetPort", target, wrong))
        if (spoken := port.get("appProtocol")) is not None and qualified(spoken):
            found += unqualified(f"{at}.appProtocol", spoken)
        if port.get("nodePort") and kind not in ("NodePort", "LoadBalancer"):
            found.append(forbidden(f"{at}.nodePort", f"may not be used when `type` is '{kind}'"))
    found += labels(spec.get("selector"), "spec.selector")
    if spec.get("sessionAffinity", "None") not in ("None", "ClientIP"):
        found.append(
            unsupported("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None"))
        )
    found += _sharing(spec)
    for field in ("internalTrafficPolicy", "externalTrafficPolicy"):
        if spec.get(field) not in (None, "Cluster", "Local"):
            found.append(unsupported(f"spec.{field}", spec[field], ("Cluster", "Local")))
    return found


def _sharing(spec: Object) -> list[Fault]:
    """Families, affinity, and addresses from outside."""
    found: list[Fault] = []
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in POLICIES:
        found.append(unsupported("spec.ipFamilyPolicy", policy, POLICIES))
    if spec.get("sessionAffinity") == "ClientIP":
        client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        seconds = client.get("timeoutSeconds", 1)
        if not 0 < seconds <= 86400:
            field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
            found.append(invalid(field, seconds, "must be greater than 0 and less than 86400"))
    elif spec.get("sessionAffinityConfig"):
        says = "must not be set when session affinity is None"
        found.append(forbidden("spec.sessionAffinityConfig", says))
    for n, address in enumerate(spec.get("externalIPs") or ()):
        if says := _from_outside(address):
            found.append(invalid(f"spec.externalIPs[{n}]", address, says))
    accessible = spec.get("type") in ("NodePort", "LoadBalancer") or spec.get("externalIPs")
    if spec.get("externalTrafficPolicy") and not accessible:
        says = "may only be set for externally-accessible services"
        found.append(invalid("spec.externalTrafficPolicy", spec["externalTrafficPolicy"], says))
    if spec.get("loadBalancerSourceRanges") and spec.get("type") != "LoadBalancer":
        says = "may only be used when `type` is 'LoadBalancer'"
        found.append(forbidden("spec.LoadBalancerSourceRanges", says))
    for n, text in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        try:
            ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            found.append(invalid(f"spec.LoadBalancerSourceRanges[{n}]", text, CIDR))
    if (chosen := spec.get("loadBalancerClass")) is not None and qualified(chosen):
        found += unqualified("spec.loadBalancerClass", chosen)
    near = spec.get("trafficDistribution")
    if near is not None and near not in NEAR:
        found.append(unsupported("spec.trafficDistribution", near, NEAR, ordered=False))
    if spec.get("loadBalancerClass") and spec.get("type") != "LoadBalancer":
        says = "may only be used when `type` is 'LoadBalancer'"
        found.append(forbidden("spec.loadBalancerClass", says))
    return found


def _from_outside(text: str) -> str:
    """Why an address can't be one by which the machine is reached; "" if it can."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
    if address.is_unspecified:
        return f"may not be unspecified ({text})"
    if address.is_loopback:
        return "may not be in the loopback range (127.0.0.0/8, ::1/128)"
    if address.is_link_local:
        return "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
    if address.is_multicast:
        return "may not be in the multicast range (224.0.0.0/4, ff00::/8)"
    return ""
