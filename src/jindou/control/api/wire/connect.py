"""Requests that are about a running thing: logs, exec, attach, port-forward and the three proxies.

They are judged here, as the real server does, and then handed to the node's streaming endpoint over
mutual TLS, or to the pod itself. A node's certificate is checked against its name; ours is read
again when it was renewed.
Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

import os
import random
import re
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from jindou.control.api import status
from jindou.control.api.access.guard import User
from jindou.control.api.resources.registry import Resource
from jindou.control.api.rules.names import invalid
from jindou.control.api.wire import forwarding
from jindou.control.store import Store
from jindou.objects.errors import (
    BadRequest,
    CloudError,
    Fault,
    InternalError,
    NotFound,
    Unavailable,
)
from jindou.objects.kinds import NODE, POD, SERVICE, Kind, Object
from jindou.transport import Answer, Request, Response
from jindou.transport.client import Pool
from jindou.transport.exchange import ClientResponse
from jindou.transport.tls import client_context

Query = Mapping[str, Sequence[str]]
BEHIND = re.compile(r"/+api/+v1/+(?:namespaces/+[^/]+/+)?(?:pods|services|nodes)/+[^/]+/+proxy")
KUBELET_NAMES = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
TRUE = ("", "true", "1", "t", "T", "TRUE", "True")
LOG_OPTIONS = Kind("", "v1", "PodLogOptions", "podlogoptions")
DEFAULT_PORTS = {"http": 80, "https": 443}


class Connect:
    """`pki` is the folder of our certificates; without it nodes can't be reached."""

    def __init__(self, store: Store, pki: Path | None = None) -> None:
        self._store = store
        self._pki = pki
        self._nodes: dict[
            str, tuple[float, Pool]
        ] = {}  # node -> age of our certificate, connections
        self._plain = Pool(unverified())

    async def answer(
        self,
        request: Request,
        user: User,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        rest: str,
    ) -> Answer:
        plural = resource.kind.plural
        try:
            if subresource == "proxy":
                return await self._proxy(request, plural, namespace, name)
            pod = self._read(POD, namespace, name)
            if subresource == "log":
                return await self._log(request, pod)
            return await self._stream(request, pod, subresource)
        except CloudError:
            raise
        except (OSError, TimeoutError) as error:
            raise InternalError(f"error dialing backend: {why(error)}") from None

    def close(self) -> None:
        for _, pool in self._nodes.values():
            pool.close()
        self._plain.close()

    def _read(self, kind: Kind, namespace: str, name: str) -> Object:
        stored = self._store.get(f"core/{kind.plural}/{namespace}/{name}")
        if stored is None:
            raise status.not_found(kind, name)
        found: Object = orjson.loads(stored.value)
        return found

    # ------------------------------------------------------------ nodes

    async def read(self, node: str, path: str) -> bytes:
        """What a node's endpoint has at a path. Raises CloudError, OSError or TimeoutError."""
        pool, base = self._node(node)
        response = await pool.request("GET", base + path, timeout=10)
        if response.status >= 400:
            raise await refusal(response, f"get {path} of {node}")
        return await response.read()

    def _node(self, name: str) -> tuple[Pool, str]:
        """Connections to a node's endpoint, and its URL without a path."""
        return self._pool(name), "https://" + endpoint(self._read(NODE, "", name))

    def _pool(self, name: str) -> Pool:
        if self._pki is None:
            raise Unavailable("this server has no certificate for nodes")
        certificate = self._pki / "proxy.crt"
        age = certificate.stat().st_mtime
        held = self._nodes.get(name)
        if held is not None:
            if held[0] == age:
                return held[1]
            held[1].close()
        tls = client_context(
            str(self._pki / "ca.crt"), str(certificate), str(self._pki / "proxy.key")
        )
        pool = Pool(tls, server_name=name)
        self._nodes[name] = (age, pool)
        return pool

    async def _log(self, request: Request, pod: Object) -> Answer:
        meta, query = pod["metadata"], request.query
        container = container_of(pod, one(query, "container"))
        parameters = log_parameters(query, meta["name"])
        node = (pod.get("spec") or {}).get("nodeName")
        if not node:
            return Response(200, b"", [("Content-Type", "text/plain")])
        pool, base = self._node(node)
        path = f"/containerLogs/{quote(meta['namespace'])}/{quote(meta['name'])}/{quote(container)}"
        url = base + path + (f"?{urlencode(parameters)}" if parameters else "")
        response = await pool.request("GET", url, [("Accept", "text/plain")], timeout=30)
        if response.status >= 400:
            raise await refusal(response, f"get pods {meta['name']}")
        headers = [("Content-Type", "text/plain")]
        if response.headers.get("content-length", "").isdigit():
            answer = await forwarding.answer_of(request, response)
            answer.headers = headers
            return answer
        return forwarding.streamed(response, headers)

    async def _stream(self, request: Request, pod: Object, action: str) -> Answer:
        meta, query = pod["metadata"], request.query
        place = f"{quote(meta['namespace'])}/{quote(meta['name'])}"
        parameters: list[tuple[str, str]]
        if action == "portforward":
            path = f"/portForward/{place}"
            parameters = [("port", port) for port in query.get("ports", ())]
        else:
            container = container_of(pod, one(query, "container"))
            path = f"/{action}/{place}/{quote(container)}"
            parameters = stream_parameters(query)
        node = (pod.get("spec") or {}).get("nodeName")
        if not node:
            raise BadRequest(f"pod {meta['name']} does not have a host assigned")
        if not forwarding.wants_upgrade(request):
            raise BadRequest("Upgrade request required")
        pool, base = self._node(node)
        url = base + path + (f"?{urlencode(parameters)}" if parameters else "")
        return await forwarding.upgrade(pool, request, url)

    # ------------------------------------------------------------ proxies

    async def _proxy(self, request: Request, plural: str, namespace: str, name: str) -> Answer:
        scheme, name, port = split_name(name)
        target, behind = rest_of(request.raw_path)
        if not target:
            where = request.raw_path.partition("?")[0] + "/" + behind
            return Response(301, b"", [("Location", where)])
        pool = self._plain
        if plural == "nodes":
            node = self._read(NODE, "", name)
            _, kubelet_port = split_host(endpoint(node))
            if not port or port == kubelet_port:
                pool, base = self._node(name)
            else:
                base = f"{scheme or 'http'}://{node_address(node)}:{port}"
        elif plural == "pods":
            base = pod_url(self._read(POD, namespace, name), scheme, port)
        else:
            base = self._service_url(namespace, name, scheme, port)
        prefix = request.raw_path.partition("?")[0][: -len(target)]
        extra = [
            ("X-Forwarded-For", request.peer.address.rpartition(":")[0]),
            ("X-Forwarded-Uri", request.raw_path.partition("?")[0]),
            ("X-Forwarded-Host", request.headers.get("host", "")),
        ]
        answer = await forwarding.forward(pool, request, base + target + behind, extra)
        answer.headers = [
            (key, relocated(value, prefix, base) if key == "location" else value)
            for key, value in answer.headers
        ]
        return answer

    def _service_url(self, namespace: str, name: str, scheme: str, port: str) -> str:
        stored = self._store.get(f"core/endpoints/{namespace}/{name}")
        endpoints = orjson.loads(stored.value) if stored else {}
        nobody = Unavailable(f'no endpoints available for service "{name}"')
        if not endpoints.get("subsets"):
            raise nobody
        wanted = service_port(self._read(SERVICE, namespace, name), port)
        if wanted is None:
            raise Unavailable(f'no service port "{port}" found for service "{name}"')
        backends = backends_of(endpoints, wanted)
        if not backends:
            raise nobody
        return f"{scheme or 'http'}://{random.choice(backends)}"


def why(error: Exception) -> str:
    """Why another server can't be reached, in a few words."""
    if isinstance(error, ssl.SSLError):
        return f"tls: {getattr(error, 'verify_message', '') or error.args[-1]}"
    if isinstance(error, OSError) and error.errno:
        return f"connect: {os.strerror(error.errno).lower()}"
    return str(error) or "timed out"


def unverified() -> ssl.SSLContext:
    """Pods and Services have certificates of their own making."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# ---------------------------------------------------------------- parameters


def one(query: Query, name: str) -> str:
    held = query.get(name)
    return held[0] if held else ""


def flag(query: Query, name: str) -> bool:
    held = query.get(name)
    return held is not None and len(held) > 0 and held[0] in TRUE


def container_of(pod: Object, asked: str) -> str:
    """The container that is meant, which has to exist."""
    spec, name = pod.get("spec") or {}, pod["metadata"]["name"]
    names = [c["name"] for c in spec.get("containers") or ()]
    first = [c["name"] for c in spec.get("initContainers") or ()]
    if asked:
        ephemeral = [c["name"] for c in spec.get("ephemeralContainers") or ()]
        if asked not in (*names, *first, *ephemeral):
            raise BadRequest(f"container {asked} is not valid for pod {name}")
        return asked
    if len(names) == 1:
        return str(names[0])
    says = f"a container name must be specified for pod {name}"
    if names:
        says += f", choose one of: [{' '.join(names)}]"
        if first:
            says += f" or one of the init containers: [{' '.join(first)}]"
    raise BadRequest(says)


def log_parameters(query: Query, name: str) -> list[tuple[str, str]]:
    """PodLogOptions, checked, in the kubelet's words."""
    found: list[tuple[str, str]] = []
    faults: list[Fault] = []
    for option in ("follow", "previous", "timestamps"):
        if flag(query, option):
            found.append((option, "true"))
    for option, least, says in (
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ):
        text = one(query, option)
        if not text:
            continue
        if not re.fullmatch(r"[+-]?\d+", text):
            raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        if int(text) < least:
            faults.append(invalid(option, int(text), says))
        found.append((option, text))
    since = one(query, "sinceTime")
    if since and one(query, "sinceSeconds"):
        says = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        faults.append(Fault("FieldValueForbidden", f"Forbidden: {says}", ""))
    elif since:
        found.append(("sinceTime", since))
    stream = one(query, "stream")
    if stream and stream != "All":
        found.append(("stream", stream))
    if faults:
        raise status.invalid(LOG_OPTIONS, name, faults)
    return found


def stream_parameters(query: Query) -> list[tuple[str, str]]:
    """PodExecOptions in the kubelet's words."""
    found = [(word, "1") for name, word in KUBELET_NAMES.items() if flag(query, name)]
    return found + [("command", word) for word in query.get("command", ())]


# ---------------------------------------------------------------- places


def node_address(node: Object) -> str:
    held = {a["type"]: a["address"] for a in (node.get("status") or {}).get("addresses") or ()}
    for kind in ("InternalIP", "Hostname", "InternalDNS", "ExternalIP", "ExternalDNS"):
        if held.get(kind):
            address = str(held[kind])
            return f"[{address}]" if ":" in address else address
    raise InternalError(
        f"no preferred addresses found; known addresses: [{' '.join(held.values())}]"
    )


def endpoint(node: Object) -> str:
    """Address and port of a node's streaming endpoint."""
    held = ((node.get("status") or {}).get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
    return f"{node_address(node)}:{held.get('Port') or 10250}"


def split_host(place: str) -> tuple[str, str]:
    host, _, port = place.rpartition(":")
    return host, port


def split_name(text: str) -> tuple[str, str, str]:
    """`name`, `name:port` or `scheme:name:port` as (scheme, name, port)."""
    parts = text.split(":")
    if len(parts) == 1:
        return "", text, ""
    if len(parts) == 2:
        return "", parts[0], parts[1]
    if len(parts) == 3 and parts[0] in ("http", "https", ""):
        return parts[0], parts[1], parts[2]
    raise BadRequest(f'invalid name "{text}": expected name, name:port or scheme:name:port')


def rest_of(raw_path: str) -> tuple[str, str]:
    """What follows `/proxy`, still encoded; and the query with its question mark."""
    path, mark, query = raw_path.partition("?")
    match = BEHIND.match(path)
    return path[match.end() :] if match else "", mark + query


def pod_url(pod: Object, scheme: str, port: str) -> str:
    address = (pod.get("status") or {}).get("podIP", "")
    if not address:
        raise BadRequest("address not allowed")
    if not port:
        ports = [
            held["containerPort"]
            for container in (pod.get("spec") or {}).get("containers") or ()
            for held in container.get("ports") or ()
            if held.get("protocol", "TCP") == "TCP"
        ]
        port = str(ports[0] if ports else DEFAULT_PORTS[scheme or "http"])
    host = f"[{address}]" if ":" in address else address
    return f"{scheme or 'http'}://{host}:{port}"


def service_port(service: Object, asked: str) -> Object | None:
    ports: list[Object] = (service.get("spec") or {}).get("ports") or []
    if not asked:
        return ports[0] if len(ports) == 1 else None
    return next((p for p in ports if p.get("name") == asked or str(p.get("port")) == asked), None)


def backends_of(endpoints: Object, port: Object) -> list[str]:
    """address:port of everything that is ready behind a port of a Service."""
    found = []
    for subset in endpoints.get("subsets") or ():
        for held in subset.get("ports") or ():
            if held.get("name", "") == port.get("name", ""):
                found += [f"{a['ip']}:{held['port']}" for a in subset.get("addresses") or ()]
    return found


def relocated(location: str, prefix: str, base: str) -> str:
    """Where a redirect of the other server leads, seen from here."""
    if location.startswith(base + "/"):
        location = location[len(base) :]
    return prefix + location if location.startswith("/") else location


async def refusal(response: ClientResponse, asked: str) -> CloudError:
    """What a node's error is to the asker."""
    text = (await response.read(1 << 20)).decode("utf-8", "replace").strip()
    try:
        told: Any = orjson.loads(text)
        text = told["message"] if told.get("kind") == "Status" else text
    except (ValueError, TypeError, AttributeError, KeyError):
        pass
    if response.status == 400:
        return BadRequest(text)
    if response.status == 404:
        return NotFound(text or f"the server could not find the requested resource ({asked})")
    return InternalError(
        f'an error on the server ("{text}") has prevented the request from succeeding ({asked})'
    )
