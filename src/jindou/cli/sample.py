"""Deploying a folder or file of Kubernetes YAML with kubectl, and waiting until it really answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import yaml

from jindou.cli.problems import USAGE, WAITED, Problem
from jindou.cli.steps import Step
from jindou.settings import Settings


def objects(path: str) -> list[dict[str, Any]]:
    """Every object of a file, or of the .yaml and .yml files of a folder."""
    if not os.path.exists(path):
        raise Problem(f"{path} does not exist", "JD-CLI-607", status=USAGE)
    files = [path]
    if os.path.isdir(path):
        files = sorted(
            os.path.join(path, n) for n in os.listdir(path) if n.endswith((".yaml", ".yml"))
        )
    found: list[dict[str, Any]] = []
    for name in files:
        with open(name) as file:
            found += [obj for obj in yaml.safe_load_all(file) if obj]
    return found


def images(path: str) -> Iterator[str]:
    """The images that the workloads name, each once."""
    seen: set[str] = set()
    for obj in objects(path):
        spec = obj.get("spec", {})
        spec = spec.get("template", {}).get("spec", spec)
        for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
            if container["image"] not in seen:
                seen.add(container["image"])
                yield container["image"]


def deploy(step: Step, settings: Settings, path: str, seconds: float) -> list[tuple[str, str]]:
    """Apply, wait for every Deployment, and fetch the page of every node port. Returns (name, URL)."""
    kubectl = shutil.which("kubectl")
    if not kubectl:
        raise Problem(
            "kubectl is missing",
            "JD-CLI-602",
            do=["apt-get install kubernetes-client", f"jindou up --deploy {path}"],
        )
    config = os.path.join(settings.data, "pki", "admin.kubeconfig")
    base = [kubectl, "--kubeconfig", config]
    wanted = objects(path)
    deployments = [o["metadata"] for o in wanted if o["kind"] == "Deployment"]
    for meta in deployments:
        step.item(meta["name"])
    call([*base, "apply", "-f", path])
    for meta, item in zip(deployments, step.items):
        item.start()
        call(
            [
                *base,
                "-n",
                meta.get("namespace", "default"),
                "rollout",
                "status",
                f"deployment/{meta['name']}",
                f"--timeout={int(seconds)}s",
            ],
        )
        item.end("ready")
    urls = []
    for obj in wanted:
        ports = obj.get("spec", {}).get("ports", []) if obj["kind"] == "Service" else []
        for port in ports:
            if "nodePort" in port:
                url = f"http://{settings.api_address}:{port['nodePort']}"
                fetch(url, seconds)
                urls.append(
                    (obj["metadata"].get("namespace", obj["metadata"]["name"]).capitalize(), url)
                )
    step.say(f"{len(deployments)} deployments ready{', page answers' if urls else ''}")
    return urls


def call(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        short = " ".join(words[3:])
        raise Problem(
            f"kubectl {short} failed",
            "JD-CLI-608",
            said=done.stderr or done.stdout,
            do=["jindou status"],
            status=WAITED,
        )


def fetch(url: str, seconds: float) -> None:
    """The page, with the patience that a first answer may need."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + seconds
    while True:
        try:
            with opener.open(url, timeout=5) as answer:
                answer.read()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise Problem(
                    f"{url} does not answer",
                    "JD-API-502",
                    why=str(error),
                    do=["jindou why service/front -n guestbook"],
                    status=WAITED,
                ) from error
            time.sleep(0.1)
