"""The user's kubeconfig: an entry of ours added, refreshed or taken out, and nothing else changed.

The current context is set only where there is none. The file keeps its owner, its mode is 0600.
"""

from __future__ import annotations

import os
from typing import Any

import yaml

SECTIONS = ("clusters", "contexts", "users")


def path_for(home: str, env: dict[str, str]) -> str:
    """The first file of $KUBECONFIG, else ~/.kube/config, as kubectl itself would write it."""
    first = env.get("KUBECONFIG", "").split(os.pathsep)[0]
    return first or os.path.join(home, ".kube", "config")


def merge(config: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Pure: `config` with the entries of `ours` added or replaced by name."""
    merged = {"apiVersion": "v1", "kind": "Config", "preferences": {}, **config}
    for section in SECTIONS:
        mine = {entry["name"] for entry in ours[section]}
        kept = [entry for entry in merged.get(section) or [] if entry.get("name") not in mine]
        merged[section] = kept + ours[section]
    if not merged.get("current-context"):
        merged["current-context"] = ours["current-context"]
    return merged


def without(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Pure: `config` without the entries called `name`."""
    left = dict(config)
    for section in SECTIONS:
        left[section] = [entry for entry in left.get(section) or [] if entry.get("name") != name]
    if left.get("current-context") == name:
        left["current-context"] = left["contexts"][0]["name"] if left["contexts"] else ""
    return left


class Unreadable(Exception):
    """The file is there and is no kubeconfig; it was left as it is."""


def read(path: str) -> dict[str, Any]:
    """What the file holds; {} where there is none. Raises Unreadable."""
    if not os.path.exists(path):
        return {}
    try:
        with open(path) as file:
            config = yaml.safe_load(file) or {}
    except (OSError, yaml.YAMLError) as error:
        raise Unreadable(f"{path} can't be read: {error}") from error
    if not isinstance(config, dict):
        raise Unreadable(f"{path} is not a kubeconfig")
    return config


def write(path: str, config: dict[str, Any], owner: tuple[int, int]) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o750)
        os.chown(folder, *owner)
    if os.path.exists(path):
        status = os.stat(path)
        owner = (status.st_uid, status.st_gid)
    part = f"{path}.jindou-{os.getpid()}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(config, file, sort_keys=False)
    os.chown(part, *owner)
    os.replace(part, os.path.realpath(path))
