"""`jindou image`: list, make from packages, import, export, delete. The node does the work."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from jindou.cli.api import Api, Refused
from jindou.cli.problems import DONE, FAILED, NO_OBJECT, USAGE, Problem
from jindou.cli.steps import Item, Steps
from jindou.cli.term import Terminal, size, table
from jindou.settings import Settings

NO_RECIPE = "there is no recipe"
MAKE = "make the image"
IMPORT = "import the images"


def node_path(api: Api) -> str:
    """The images of the first node, through the API: this machine's."""
    nodes = api.get("/api/v1/nodes")["items"]
    if not nodes:
        raise Problem("there is no node yet", "JD-API-501", do=["jindou status"])
    return f"/api/v1/nodes/{nodes[0]['metadata']['name']}/proxy/images"


def known_here(api: Api) -> set[str]:
    """Short names of the images that are here: "debian", "debian:12"."""
    try:
        images = api.get(node_path(api))["images"]
    except (Problem, Refused):
        return set()
    return {short(name) for image in images for name in image["names"]}


def short(name: str) -> str:
    name = name.removeprefix("docker.io/library/").removeprefix("docker.io/")
    return name.removesuffix(":latest")


def bootstrap(api: Api, name: str, item: Item, force: bool = False, optional: bool = False) -> None:
    """Make it. `optional`: what no recipe is for is left to be pulled when a Pod needs it."""
    query = urlencode({"name": name, **({"force": "true"} if force else {})})
    item.start()
    try:
        follow(api.lines("POST", f"{node_path(api)}/bootstrap?{query}"), item, name)
    except Problem as problem:
        if not optional or NO_RECIPE not in problem.why:
            raise
        item.end("pulled when it is needed", state="skip")


def follow(lines: Iterator[dict[str, Any]], item: Item, name: str) -> None:
    """Show the progress lines of the node; the last one says how it ended."""
    size_text = ""
    try:
        for line in lines:
            if "error" in line:
                raise failed(name, line["error"])
            if "image" in line:
                size_text = size(line["image"].get("size", 0))
                continue
            item.detail = f"{line.get('step', '')}  {line.get('detail', '')}".strip()
            item.done, item.total = line.get("done", 0), line.get("total", 0)
    except Refused as error:
        item.end(state="FAIL")
        raise failed(name, str(error)) from error
    except Problem:
        item.end(state="FAIL")
        raise
    item.end(size_text)


def failed(name: str, why: str) -> Problem:
    do = ["jindou image list", "jindou image import FILE   takes a docker or OCI archive"]
    if NO_RECIPE not in why:
        do = ["jindou logs node"]
    return Problem(f"{name} can't be had", "JD-IMG-401", why=why, do=do)


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    api = Api(settings, timeout=600)
    actions = {
        "list": show,
        "bootstrap": make,
        "import": bring,
        "export": send,
        "delete": remove,
    }
    return actions[options.action](terminal, api, options)


def show(terminal: Terminal, api: Api, options: Namespace) -> int:
    images = api.get(node_path(api))["images"]
    if options.output == "json":
        import json

        terminal.answer(json.dumps({"v": 1, "images": images}), always=True)
        return DONE
    rows = [["NAME", "DIGEST", "SIZE"]]
    rows += sorted(
        [short(name), image["digest"].removeprefix("sha256:")[:12], size(image["size"])]
        for image in images
        for name in image["names"] or ["<none>"]
    )
    terminal.answer(table(rows, right=(2,)), always=True)
    return DONE


def make(terminal: Terminal, api: Api, options: Namespace) -> int:
    names = options.names or ["busybox", "debian"]
    absent = [name for name in names if options.force or name not in known_here(api)]
    for name in names:
        if name not in absent:
            terminal.note(f"{name} is here already. Anew: jindou image bootstrap {name} --force")
    if not absent:
        return DONE
    steps = Steps(terminal, [MAKE])
    with steps.step(MAKE) as step:
        for name in absent:
            step.item(name)
        for item in step.items:
            bootstrap(api, item.name, item, options.force)
        step.say(", ".join(absent))
    terminal.note(f"Try: kubectl run x --image={absent[0]} --restart=Never -it --rm -- sh")
    return DONE


def bring(terminal: Terminal, api: Api, options: Namespace) -> int:
    if not options.names:
        raise Problem(
            "name the archive to import",
            "JD-CLI-609",
            do=["jindou image import FILE"],
            status=USAGE,
        )
    steps = Steps(terminal, [IMPORT])
    with steps.step(IMPORT) as step:
        for path in options.names:
            full = os.path.abspath(path)
            item = step.item(os.path.basename(path))
            item.start()
            follow(
                api.lines("POST", f"{node_path(api)}/import?{urlencode({'path': full})}"),
                item,
                path,
            )
    return DONE


def send(terminal: Terminal, api: Api, options: Namespace) -> int:
    if len(options.names) != 2:
        raise Problem(
            "name the image and the file to write",
            "JD-CLI-609",
            do=["jindou image export NAME FILE"],
            status=USAGE,
        )
    name, path = options.names
    query = urlencode({"name": name, "path": os.path.abspath(path), "format": options.format})
    steps = Steps(terminal, [f"export {name}"])
    with steps.step(f"export {name}") as step:
        item = step.item(name)
        item.start()
        follow(api.lines("POST", f"{node_path(api)}/export?{query}"), item, name)
    return DONE


def remove(terminal: Terminal, api: Api, options: Namespace) -> int:
    if not options.names:
        raise Problem(
            "name the image to delete",
            "JD-CLI-609",
            do=["jindou image list", "jindou image delete NAME"],
            status=USAGE,
        )
    for name in options.names:
        try:
            api.request("DELETE", f"{node_path(api)}?{urlencode({'name': name})}")
        except Refused as error:
            raise Problem(
                f"{name} was not deleted",
                "JD-IMG-401",
                why=str(error),
                do=["jindou image list"],
                status=NO_OBJECT if error.code == 404 else FAILED,
            ) from error
        terminal.note(f"{name} deleted")
    return DONE
