"""The environment of a container: what its image doesn't say and its Pod does.

Order and precedence are the kubelet's: `envFrom` in turn, then `env` in turn over it, then the
addresses of Services for names that are still free. `$(NAME)` refers to what was set before it.
Sources: https://kubernetes.io/docs/tasks/inject-data-application/ and
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jindou.node.references import References
from jindou.node.volumes import downward, env_files
from jindou.objects.errors import CloudError
from jindou.objects.kinds import CONFIG_MAP, SECRET, Kind, Object

NAME = re.compile(r"[ -<>-~]+")  # printable ASCII, but no "="
REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
WORDS = {CONFIG_MAP: ("configmap", "ConfigMap", "configMap"), SECRET: ("secret", "Secret", "secret")}  # fmt: skip
Report = Callable[[str, str], None]  # reason and message of an event


class ConfigError(Exception):
    """Why a container's configuration can't be made (CreateContainerConfigError)."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` by its value where there is one, `$$` as `$`; all else stays."""

    def put(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        return values.get(match[1], match[0])

    return REFERENCE.sub(put, text)


async def environment(
    pod: Object,
    container: Object,
    references: References,
    services: Sequence[Object],
    addresses: Sequence[str],
    node: Object,
    report: Report | None = None,
    volumes: Mapping[str, Path] | None = None,
) -> list[tuple[str, str]]:
    """`services` are those of the Pod's namespace and `kubernetes`; `addresses` are the Pod's, and
    `volumes` the places of its volumes."""
    sources = Sources(pod, container, references, addresses, node, volumes or {})
    linked = service_variables(pod, services)
    values: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        values.update(await sources.all_of(source, report))
    known: dict[str, str] = {**linked, **values}
    for variable in container.get("env") or ():
        name = variable["name"]
        if variable.get("valueFrom") and not variable.get("value"):
            value = await sources.one_of(variable["valueFrom"])
            if value is None:
                continue
        else:
            value = expand(variable.get("value") or "", known)
        values.pop(name, None)
        values[name] = known[name] = value
    return [*values.items(), *((k, v) for k, v in linked.items() if k not in values)]


class Sources:
    """Where values come from, for one container."""

    def __init__(
        self,
        pod: Object,
        container: Object,
        references: References,
        addresses: Sequence[str],
        node: Object,
        volumes: Mapping[str, Path],
    ) -> None:
        self._pod = pod
        self._volumes = volumes
        self._container = container
        self._references = references
        self._addresses = addresses
        status = node.get("status") or {}
        self._allocatable: Mapping[str, str] = status.get("allocatable") or {}
        self._hosts = [
            held["address"]
            for held in status.get("addresses") or ()
            if held["type"] == "InternalIP"
        ]

    async def _object(self, kind: Kind, name: str) -> Object | None:
        namespace = self._pod["metadata"]["namespace"]
        try:
            return await self._references.get(kind, namespace, name)
        except CloudError as error:
            raise ConfigError(
                f'failed to get {WORDS[kind][0]} "{namespace}/{name}": {error}'
            ) from error

    async def all_of(self, source: Object, report: Report | None) -> dict[str, str]:
        kind = CONFIG_MAP if source.get("configMapRef") else SECRET
        reference = source.get("configMapRef") or source.get("secretRef") or {}
        name = reference.get("name", "")
        obj = await self._object(kind, name)
        if obj is None:
            if reference.get("optional"):
                return {}
            raise ConfigError(f'{WORDS[kind][0]} "{name}" not found')
        prefix = source.get("prefix") or ""
        found: dict[str, str] = {}
        strange = []
        for key, value in texts(kind, obj).items():
            if NAME.fullmatch(prefix + key):
                found[prefix + key] = value
            else:
                strange.append(prefix + key)
        if strange and report is not None:
            namespace = self._pod["metadata"]["namespace"]
            report(
                "InvalidEnvironmentVariableNames",
                f"Keys [{', '.join(sorted(strange))}] from the EnvFrom {WORDS[kind][2]} {namespace}/{name} were skipped since they are considered invalid environment variable names.",
            )
        return found

    async def one_of(self, source: Object) -> str | None:
        """None: optional, and not there."""
        if reference := source.get("fieldRef"):
            return self._field(reference["fieldPath"])
        if reference := source.get("resourceFieldRef"):
            return self._resource(reference)
        for kind, part in ((CONFIG_MAP, "configMapKeyRef"), (SECRET, "secretKeyRef")):
            if reference := source.get(part):
                return await self._key(kind, reference)
        if reference := source.get("fileKeyRef"):
            return self._from_file(reference)
        return ""

    def _from_file(self, reference: Object) -> str | None:
        name, path, key = reference["volumeName"], reference["path"], reference["key"]
        if name not in self._volumes:
            raise ConfigError(f'cannot find the volume "{name}" referenced by FileKeyRef')
        try:
            held = env_files.read(self._volumes[name], path)
        except (env_files.FileRefused, OSError) as error:
            raise ConfigError(f"couldn't parse env file: {error}") from error
        value = (held or {}).get(key)
        if value is None and not reference.get("optional"):
            missing = f"environment variable key {key!r} not found in file {path!r}"
            raise ConfigError(missing if held is not None else f"env file {path!r} not found")
        return value

    def _field(self, path: str) -> str:
        try:
            return downward.field(self._pod, path, self._addresses, self._hosts)
        except downward.UnknownField as error:
            raise ConfigError(str(error)) from error

    def _resource(self, reference: Object) -> str:
        name = reference.get("containerName")
        container = downward.container_of(self._pod, name) if name else self._container
        if container is None:
            raise ConfigError(f"container {name} not found")
        try:
            return downward.resource(container, reference, self._allocatable)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    async def _key(self, kind: Kind, reference: Object) -> str | None:
        name, key = reference.get("name", ""), reference["key"]
        obj = await self._object(kind, name)
        optional = reference.get("optional", False)
        if obj is None:
            if optional:
                return None
            raise ConfigError(f'{WORDS[kind][0]} "{name}" not found')
        value = texts(kind, obj).get(key)
        if value is None and not optional:
            namespace = self._pod["metadata"]["namespace"]
            raise ConfigError(f"couldn't find key {key} in {WORDS[kind][1]} {namespace}/{name}")
        return value


def texts(kind: Kind, obj: Object) -> dict[str, str]:
    """The values that can be variables: `binaryData` can't."""
    held: dict[str, Any] = obj.get("data") or {}
    if kind == CONFIG_MAP:
        return {name: str(value) for name, value in held.items()}
    found = {}
    for name, value in held.items():
        try:
            found[name] = base64.b64decode(value or "").decode()
        except binascii.Error as error:
            raise ConfigError(f"key {name} of the secret is not base64") from error
        except UnicodeDecodeError:
            continue  # bytes that can be a file, never a variable
    return found


def service_variables(pod: Object, services: Sequence[Object]) -> dict[str, str]:
    """Addresses of the namespace's Services, where the Pod wants them; always the API's."""
    namespace = pod["metadata"]["namespace"]
    links = pod["spec"].get("enableServiceLinks", True)
    chosen: dict[str, Object] = {}
    for service in services:
        meta, spec = service["metadata"], service.get("spec") or {}
        if spec.get("clusterIP") in (None, "", "None"):
            continue
        if meta["namespace"] == namespace and links:
            chosen[meta["name"]] = service
        elif (meta["namespace"], meta["name"]) == ("default", "kubernetes"):
            chosen.setdefault("kubernetes", service)
    found: dict[str, str] = {}
    for service in chosen.values():
        found.update(variables_of(service))
    return found


def variables_of(service: Object) -> dict[str, str]:
    spec = service["spec"]
    prefix = service["metadata"]["name"].upper().replace("-", "_")
    address, ports = spec["clusterIP"], spec.get("ports") or ()
    host = f"[{address}]" if ":" in address else address
    found = {f"{prefix}_SERVICE_HOST": address}
    if not ports:
        return found
    found[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
    for port in ports:
        if port.get("name"):
            named = port["name"].upper().replace("-", "_")
            found[f"{prefix}_SERVICE_PORT_{named}"] = str(port["port"])
    for number, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{host}:{port['port']}"
        if number == 0:
            found[f"{prefix}_PORT"] = url
        link = f"{prefix}_PORT_{port['port']}_{protocol}"
        found[link] = url
        found[f"{link}_PROTO"] = protocol.lower()
        found[f"{link}_PORT"] = str(port["port"])
        found[f"{link}_ADDR"] = address
    return found
