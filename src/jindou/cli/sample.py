"""Deploying a folder or file of Kubernetes YAML, and waiting until it really answers.

kubectl applies it, as a person would; where there is none, server-side apply does, through the API.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import yaml

from jindou.cli.api import Api, Refused
from jindou.cli.problems import USAGE, WAITED, Problem
from jindou.cli.steps import Item, Step
from jindou.cli.term import count
from jindou.settings import Settings

MANAGER = "kubectl-client-side-apply"
LOOK = 0.1  # seconds between looks at a page that does not answer yet
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def objects(path: str) -> list[dict[str, Any]]:
    """Every object of a file, or of the .yaml and .yml files of a folder."""
    if not os.path.exists(path):
        raise Problem(f"{path} does not exist", "JD-CLI-607", do=["jindou up -h"], status=USAGE)
    files = [path]
    if os.path.isdir(path):
        known = sorted(
            name for name in os.listdir(path) if name.endswith((".yaml", ".yml", ".json"))
        )
        files = [os.path.join(path, name) for name in known]
    found: list[dict[str, Any]] = []
    for name in files:
        try:
            with open(name) as file:
                found += [obj for obj in yaml.safe_load_all(file) if obj]
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            why = " ".join(str(error).split())
            raise Problem(
                f"{name} is no YAML",
                "JD-CLI-607",
                why=why,
                do=[f"kubectl apply --dry-run=client -f {name}"],
                status=USAGE,
            ) from error
    items = [
        one
        for obj in found
        for one in (obj.get("items") or [obj] if isinstance(obj, dict) else [obj])
    ]
    if not items or not all(usable(one) for one in items):
        raise Problem(
            f"{path} holds {'something that is no object' if items else 'no objects'}",
            "JD-CLI-607",
            why="each has to have apiVersion, kind and metadata.name",
            do=["jindou up --deploy examples/guestbook"],
            status=USAGE,
        )
    return items


def usable(obj: Any) -> bool:
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    return isinstance(meta, dict) and all(
        (obj.get("apiVersion"), obj.get("kind"), meta.get("name"))
    )


def images(path: str) -> Iterator[str]:
    """The images that the workloads name, each once."""
    seen: set[str] = set()
    for obj in objects(path):
        spec = obj.get("spec") or {}
        if not isinstance(spec, dict):
            continue
        spec = (spec.get("template") or {}).get("spec") or spec
        for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
            if (image := container.get("image")) and image not in seen:
                seen.add(image)
                yield image


def deploy(step: Step, settings: Settings, path: str, seconds: float) -> list[tuple[str, str]]:
    """Apply, wait for every Deployment, and fetch the page of every node port. Returns (name, URL)."""
    wanted = objects(path)
    api = Api(settings)
    deployments = [one for one in wanted if one["kind"] == "Deployment"]
    for one in deployments:
        step.item(one["metadata"]["name"])
    step.say("applying")
    kubectl = shutil.which("kubectl")
    config = os.path.join(settings.data, "pki", "admin.kubeconfig")
    if kubectl and os.access(config, os.R_OK):
        call([kubectl, "--kubeconfig", config, "apply", "-f", path])
    else:
        for one in wanted:
            apply(api, one)
    step.say("")
    deadline = time.monotonic() + seconds
    for one, item in zip(deployments, step.items):
        item.start()
        wait_for(api, one, item, deadline)
        item.end("ready")
    urls = []
    for one in wanted:
        for port in (one.get("spec") or {}).get("ports", []) if one["kind"] == "Service" else []:
            if "nodePort" in port and not settings.pretend:  # a pretended container answers nobody
                url = f"http://{settings.api_address}:{port['nodePort']}"
                fetch(url, one["metadata"], deadline)
                urls.append((namespace(one, one["metadata"]["name"]).capitalize(), url))
    answers = f", {'page answers' if len(urls) == 1 else 'pages answer'}" if urls else ""
    step.say(f"{count(len(deployments), 'deployment')} ready{answers}")
    return urls


def namespace(obj: dict[str, Any], otherwise: str = "default") -> str:
    return str(obj["metadata"].get("namespace") or otherwise)


def call(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        short = " ".join(words[3:])
        raise Problem(
            f"kubectl {short} failed",
            "JD-CLI-608",
            said=done.stderr or done.stdout,
            do=["jindou status", f"kubectl --kubeconfig {words[2]} {short}"],
        )


def apply(api: Api, obj: dict[str, Any]) -> None:
    """Server-side apply, as the one who would have applied it with kubectl."""
    group = obj["apiVersion"] if "/" in obj["apiVersion"] else ""
    root = f"/apis/{group}" if group else f"/api/{obj['apiVersion']}"
    try:
        known = api.get(root)["resources"]
        kind = next((r for r in known if r["kind"] == obj["kind"] and "/" not in r["name"]), None)
        if kind is None:
            raise Problem(
                f"the API knows no kind {obj['kind']}", "JD-API-503", why=obj["apiVersion"]
            )
        scope = f"/namespaces/{namespace(obj)}" if kind["namespaced"] else ""
        path = f"{root}{scope}/{kind['name']}/{obj['metadata']['name']}"
        query = f"fieldManager={MANAGER}&force=true"
        api.request("PATCH", f"{path}?{query}", obj, "application/apply-patch+yaml")
    except Refused as error:
        what = f"{obj['kind']} {obj['metadata']['name']} was refused"
        raise Problem(what, "JD-API-503", why=str(error), do=["jindou logs server"]) from error


def wait_for(api: Api, deployment: dict[str, Any], item: Item, deadline: float) -> None:
    """Until all replicas of the newest template are available, told by a watch."""
    name, where = deployment["metadata"]["name"], namespace(deployment)
    base = f"/apis/apps/v1/namespaces/{where}/deployments?watch=true&fieldSelector=metadata.name%3D{name}"
    while (left := deadline - time.monotonic()) > 0:
        for event in api.lines("GET", f"{base}&timeoutSeconds={max(1, int(left))}"):
            found = event.get("object", {})
            ready, wanted = progress(found)
            item.detail = f"{ready} of {count(wanted, 'pod')} ready"
            if ready >= wanted:
                return
    raise Problem(
        f"deployment {name} is not ready",
        "JD-API-502",
        why=item.detail or "it was not seen at all",
        now="it goes on coming up",
        do=[f"jindou why deployment/{name} -n {where}", "jindou up --timeout 5m"],
        status=WAITED,
    )


def progress(deployment: dict[str, Any]) -> tuple[int, int]:
    """How many of its Pods are of the newest template and available, and how many should be."""
    wanted = int(deployment.get("spec", {}).get("replicas", 1))
    status, generation = deployment.get("status", {}), deployment["metadata"].get("generation", 0)
    if status.get("observedGeneration", 0) < generation:
        return 0, max(wanted, 1)
    if status.get("replicas", 0) > status.get("updatedReplicas", 0):  # old ones are still there
        return min(status.get("updatedReplicas", 0), max(wanted - 1, 0)), wanted
    return min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0)), wanted


def fetch(url: str, service: dict[str, Any], deadline: float) -> None:
    """The page, with the patience that a first answer may need."""
    while True:
        try:
            with LOCAL.open(url, timeout=5) as answer:
                answer.read()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                where = service.get("namespace", "default")
                raise Problem(
                    f"{url} does not answer",
                    "JD-API-502",
                    why=str(error),
                    do=[f"jindou why service/{service['name']} -n {where}"],
                    status=WAITED,
                ) from error
            time.sleep(LOOK)
