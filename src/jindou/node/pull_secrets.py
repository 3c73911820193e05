"""Credentials for an image, out of Secrets that hold a docker configuration. Pure.

Source: https://kubernetes.io/docs/concepts/containers/images/#config-json
"""

from __future__ import annotations

import base64
import binascii
from fnmatch import fnmatchcase
from typing import Any

import orjson

from jindou.machine.images import Credentials, ImageError
from jindou.machine.images.references import parse
from jindou.objects.kinds import Object

HUBS = ("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")


def credentials_for(secret: Object, image: str) -> list[Credentials]:
    """Those whose registry (and path, longest first) is the image's."""
    try:
        reference = parse(image)
    except ImageError:
        return []
    place = f"{reference.registry}/{reference.repository}"
    found = []
    for pattern, entry in entries(secret):
        key = normal(pattern)
        if matches(key, place) and (credentials := of_entry(entry)):
            found.append((len(key), credentials))
    return [credentials for _, credentials in sorted(found, key=lambda pair: -pair[0])]


def entries(secret: Object) -> list[tuple[str, Any]]:
    held = secret.get("data") or {}
    try:
        if ".dockerconfigjson" in held:
            auths = (orjson.loads(base64.b64decode(held[".dockerconfigjson"])) or {}).get("auths")
        elif ".dockercfg" in held:
            auths = orjson.loads(base64.b64decode(held[".dockercfg"]))
        else:
            return []
    except (binascii.Error, orjson.JSONDecodeError, AttributeError):
        return []
    return list(auths.items()) if isinstance(auths, dict) else []


def normal(pattern: str) -> str:
    """host[:port][/path], without scheme and API version; every name of the Hub as one."""
    text = pattern.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, slash, path = text.partition("/")
    if path in ("v1", "v2"):
        slash = path = ""
    path = path.removeprefix("v1/").removeprefix("v2/")
    if host in HUBS:
        host = "docker.io"
    return f"{host}{slash}{path}"


def matches(pattern: str, place: str) -> bool:
    """`*` stands for letters within one part of a host name; a path matches whole parts before it."""
    host, _, path = pattern.partition("/")
    own_host, _, own_path = place.partition("/")
    parts, own_parts = host.split("."), own_host.split(".")
    if len(parts) != len(own_parts):
        return False
    if not all(fnmatchcase(own, part) for own, part in zip(own_parts, parts, strict=True)):
        return False
    return not path or own_path == path or own_path.startswith(f"{path}/")


def of_entry(entry: Any) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    if token := entry.get("registrytoken") or entry.get("identitytoken"):
        return Credentials(token=str(token))
    username, password = entry.get("username") or "", entry.get("password") or ""
    if (auth := entry.get("auth")) and not username:
        try:
            text = base64.b64decode(auth).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        username, _, password = text.partition(":")
    return Credentials(str(username), str(password).strip("\0")) if username else None
