"""Rules of what a container is asked: probes, hooks, and the ways in which they ask."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from jindou.control.api.rules.names import forbidden, invalid, port_name, required, unsupported
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

PROBES = ("exec", "httpGet", "tcpSocket", "grpc")
HOOKS = ("exec", "httpGet", "tcpSocket", "sleep")
TIMES = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")  # fmt: skip
SCHEMES = ("HTTP", "HTTPS")
PORT = "must be between 1 and 65535, inclusive"
HEADER = re.compile(r"[-A-Za-z0-9]+")
HEADER_SAYS = (
    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is "
    "'[-A-Za-z0-9]+')"
)


def probe_faults(probe: Object, at: str, name: str) -> Iterator[Fault]:
    yield from handler_faults(probe, at, PROBES)
    for part in TIMES:
        if probe.get(part, 0) < 0:
            yield invalid(f"{at}.{part}", probe[part], "must be greater than or equal to 0")
    if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        yield invalid(f"{at}.successThreshold", probe["successThreshold"], "must be 1")


def handler_faults(held: Object, at: str, kinds: Sequence[str]) -> Iterator[Fault]:
    chosen = [kind for kind in kinds if held.get(kind) is not None]
    if not chosen:
        yield required(at, "must specify a handler type")
        return
    for extra in chosen[1:]:
        yield forbidden(f"{at}.{extra}", "may not specify more than 1 handler type")
    kind, action = chosen[0], held[chosen[0]]
    field = f"{at}.{kind}"
    if kind == "exec" and not action.get("command"):
        yield required(f"{field}.command")
    elif kind == "httpGet":
        yield from _http(action, field)
    elif kind == "tcpSocket" or kind == "grpc":
        yield from _port(action.get("port"), f"{field}.port")


def _http(action: Object, at: str) -> Iterator[Fault]:
    if not action.get("path"):
        yield required(f"{at}.path")
    yield from _port(action.get("port"), f"{at}.port")
    scheme = action.get("scheme") or ""
    if scheme not in SCHEMES:
        yield unsupported(f"{at}.scheme", scheme, SCHEMES)
    for header in action.get("httpHeaders") or ():
        name = header.get("name") or ""
        if not HEADER.fullmatch(name):
            yield invalid(f"{at}.httpHeaders", name, HEADER_SAYS)


def _port(port: object, at: str) -> Iterator[Fault]:
    if isinstance(port, str):
        if wrong := port_name(port):
            yield invalid(at, port, wrong)
    elif not isinstance(port, int) or not 1 <= port <= 65535:
        yield invalid(at, port or 0, PORT)
