"""Credentials out of docker's config.json and of the Secrets that have its form. Pure.

An entry's key is a registry with or without scheme, port and path; a registry's name may hold `*`
for one part of it. The longest fitting path comes first.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from jindou.machine.images import Credentials
from jindou.machine.images.references import HUB, parse

HUB_KEYS = frozenset({"index.docker.io", "docker.io", "registry-1.docker.io"})


def matching(config: Mapping[str, Any], reference: str) -> list[Credentials]:
    """What a config.json ({"auths": {...}}), or the table inside it, has for an image."""
    wanted = parse(reference)
    auths = config.get("auths", config)
    found: list[tuple[int, Credentials]] = []
    for key, entry in auths.items() if isinstance(auths, Mapping) else ():
        host, path = _place(str(key))
        if isinstance(entry, Mapping) and _fits(host, wanted.registry):
            inside = path == "" or (wanted.repository + "/").startswith(path + "/")
            if inside and (credentials := read(entry)):
                found.append((len(path), credentials))
    return [credentials for _, credentials in sorted(found, key=lambda pair: -pair[0])]


def read(entry: Mapping[str, Any]) -> Credentials | None:
    """One entry: user and password, the two as base64 in `auth`, or a token."""
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if not username and isinstance(entry.get("auth"), str):
        try:
            text = base64.b64decode(entry["auth"], validate=False).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        username, _, password = text.rstrip("\0").partition(":")
    if token := str(entry.get("registrytoken") or ""):
        return Credentials(token=token)
    token = str(entry.get("identitytoken") or "")
    if token and not username:
        username = "<token>"
    return Credentials(username, password, token) if username else None


def _place(key: str) -> tuple[str, str]:
    parts = urlsplit(key if "//" in key else f"//{key}")
    path = parts.path.strip("/")
    return parts.netloc.lower(), "" if path in ("v1", "v2") else path


def _fits(pattern: str, registry: str) -> bool:
    """Part for part, so that `*.example` does not fit a.b.example; ports must be equal."""
    if registry == HUB:
        return pattern in HUB_KEYS
    ours, _, port = pattern.partition(":")
    theirs, _, their_port = registry.lower().partition(":")
    if port != their_port:
        return False
    left, right = ours.split("."), theirs.split(".")
    return len(left) == len(right) and all(map(fnmatch.fnmatchcase, right, left))
