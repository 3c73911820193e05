"""Our entry in the kubeconfig of whoever asked; what can't be done there is a warning, never a failure."""

from __future__ import annotations

import os

from jindou.cli.root import invoking_user
from jindou.client import kubeconfig
from jindou.settings import Settings


def introduce(settings: Settings) -> str:
    """Add or refresh the entry. Returns "", or one sentence on why that could not be."""
    import yaml

    uid, gid, home = invoking_user()
    path = kubeconfig.path_for(home, dict(os.environ))
    try:
        before = kubeconfig.read(path)
    except kubeconfig.Unreadable as error:
        return " ".join(str(error).split())
    try:
        with open(os.path.join(settings.data, "pki", "admin.kubeconfig")) as file:
            ours = yaml.safe_load(file)
    except OSError:  # root made the cloud, and gave its user an entry then
        if any(one.get("name") == settings.name for one in before.get("contexts") or []):
            return ""
        return f"{path} has no entry {settings.name}, and only root may add it: sudo jindou up"
    try:
        merged = kubeconfig.merge(before, ours)
        if merged != before:
            kubeconfig.write(path, merged, (uid, gid))
        remember(settings, path)
    except (OSError, AttributeError, TypeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not shaped like one"
        return f"{path} could not be given the entry {settings.name}: {said}"
    return ""


def remember(settings: Settings, path: str) -> None:
    """Which kubeconfigs hold our entry: they are refreshed with the certificate, and cleaned up."""
    noted = os.path.join(settings.data, "kubeconfigs")
    known = set()
    if os.path.exists(noted):
        with open(noted) as file:
            known = set(file.read().splitlines())
    if path not in known:
        with open(noted, "a") as file:
            file.write(f"{path}\n")


def current_context() -> str:
    _, _, home = invoking_user()
    try:
        found = kubeconfig.read(kubeconfig.path_for(home, dict(os.environ)))
    except kubeconfig.Unreadable:
        return ""
    return str(found.get("current-context", ""))
