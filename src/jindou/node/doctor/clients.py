"""Probes of what people use it with, and of Jindou itself: kubectl, kubeconfigs, the two processes."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator

from jindou.client import kubeconfig
from jindou.machine.linux.processes import PATH
from jindou.node.doctor.verdicts import Verdict, install, process_of, run
from jindou.settings import Settings

UNITS = "/etc/systemd/system"


def kubectl(settings: Settings) -> Iterator[Verdict]:
    path = shutil.which("kubectl", path=os.pathsep.join([os.environ.get("PATH", ""), PATH]))
    if not path:
        yield Verdict(
            "clients",
            "warn",
            "kubectl is missing",
            "JD-CLI-602",
            "everything else works without it",
            (install("kubernetes-client", "kubernetes-client", "kubectl"),),
        )
        return
    done = run(path, "version", "--client", "-o", "json")
    try:
        version = json.loads(done.stdout)["clientVersion"]["gitVersion"]
    except (ValueError, KeyError):
        yield Verdict(
            "clients", "warn", f"{path} does not say its version", "JD-CLI-602",
            (done.stderr or done.stdout).strip()[:200], ("kubectl version --client",),
        )  # fmt: skip
        return
    yield Verdict("clients", "ok", f"kubectl {version}")


def environment(settings: Settings) -> Iterator[Verdict]:
    """Does the kubectl of this shell know our entry?"""
    place = os.environ.get("KUBECONFIG", "")
    if not place:
        return
    knows = False
    for path in filter(None, place.split(os.pathsep)):
        try:
            knows |= entry(kubeconfig.read(path), settings.name) is not None
        except kubeconfig.Unreadable as error:
            yield Verdict("clients", "warn", str(error), "JD-CLI-604", "", ("unset KUBECONFIG",))
            return
    if not knows:
        yield Verdict(
            "clients",
            "warn",
            f"KUBECONFIG hides the entry {settings.name}",
            "JD-CLI-601",
            f"it names {place}, which does not have it",
            ("unset KUBECONFIG", 'eval "$(jindou env kubectl)"'),
        )


def entry(config: dict[str, object], name: str) -> dict[str, str] | None:
    """The cluster of that name in a kubeconfig."""
    clusters = config.get("clusters") or []
    if isinstance(clusters, list):
        for one in clusters:
            if isinstance(one, dict) and one.get("name") == name:
                return dict(one.get("cluster") or {})
    return None


def kubeconfigs(settings: Settings) -> Iterator[Verdict]:
    """The files that were given our entry: can they be read, and is it the one of now?"""
    try:
        with open(os.path.join(settings.data, "kubeconfigs")) as file:
            paths = file.read().splitlines()
        with open(os.path.join(settings.data, "pki", "ca.crt"), "rb") as file:
            authority = base64.b64encode(file.read()).decode()
    except OSError:
        return
    for path in paths:
        try:
            found = entry(kubeconfig.read(path), settings.name)
        except kubeconfig.Unreadable as error:
            yield Verdict(
                "clients", "warn", str(error), "JD-CLI-604", "",
                (f"mv {path} {path}.broken && jindou up",),
            )  # fmt: skip
            continue
        if found is None:
            yield Verdict(
                "clients", "warn", f"{path} has no entry {settings.name} any more", "JD-CLI-617",
                "", ("jindou up",),
            )  # fmt: skip
        elif found.get("certificate-authority-data") != authority:
            yield Verdict(
                "clients", "warn", f"the entry {settings.name} in {path} is of another cloud",
                "JD-CLI-617", "its authority is not the one of now", ("jindou up",),
            )  # fmt: skip
        else:
            yield Verdict("clients", "ok", f"{path} has the entry {settings.name}")


def processes(settings: Settings) -> Iterator[Verdict]:
    ran = {name: process_of(settings, name) for name in ("server", "node")}
    if not any(ran.values()):
        yield Verdict("jindou", "skip", "the server and the node: jindou is not running")
        return
    for name, pid in ran.items():
        if pid:
            yield Verdict("jindou", "ok", f"the {name} runs (pid {pid})")
        else:
            yield Verdict(
                "jindou", "FAIL", f"the {name} does not run", "JD-RUN-307",
                "the other process does", ("jindou up", f"jindou logs {name}"),
            )  # fmt: skip


def units(settings: Settings) -> Iterator[Verdict]:
    """Services of systemd that an earlier installation wrote may name a Python that is gone."""
    for name in ("server", "node"):
        path = f"{UNITS}/{settings.name}-{name}.service"
        try:
            with open(path) as file:
                line = next((one for one in file if one.startswith("ExecStart=")), "")
        except OSError:
            continue
        words = line.strip().removeprefix("ExecStart=").split('"' if '="' in line else " ")
        program = next((word for word in words if word.strip()), "")
        if os.access(program, os.X_OK):
            yield Verdict("jindou", "ok", f"{os.path.basename(path)} names a program that is here")
        else:
            yield Verdict(
                "jindou", "FAIL", f"{os.path.basename(path)} names a program that is gone",
                "JD-RUN-309", program, ("jindou down && jindou up   writes it anew",),
            )  # fmt: skip
