"""What is on the machine for a cloud and belongs to no live Pod, and what a live Pod lacks.

The oracle of all tests of this folder: whatever was killed, cut or filled, once it has settled
`differences` finds nothing. It reads the kernel and the disk, never what the node remembers.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from jindou.machine.network.bridge import host_end
from tests.cloud import Cloud
from tests.wire import Refused

UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
UNIT = re.compile(rf"({UID.pattern})-(.+)-\d+")
PARTS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


class World:
    """The Pods as the API tells them."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud, self.settings = cloud, cloud.settings
        self.run, self.data = Path(cloud.settings.run), Path(cloud.settings.data)
        self.pods = cloud.api.get("/api/v1/pods")["items"]
        self.known = {pod["metadata"]["uid"] for pod in self.pods}
        self.live = {
            pod["metadata"]["uid"]
            for pod in self.pods
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        }
        self.running = {
            status["containerID"].partition("://")[2]
            for pod in self.pods
            for part in PARTS
            for status in (pod.get("status") or {}).get(part) or ()
            if "running" in status["state"]
        }

    def stranger(self, text: str) -> bool:
        """Does it name a Pod that is not live, or none at all?"""
        found = UID.search(text)
        return found is None or found[0] not in self.live

    def inside(self, *words: str) -> str:
        """What a program says in the node's mount namespace."""
        done = subprocess.run(
            ["nsenter", f"--mount={self.run}/mounts", "sh", "-c", *words],
            capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout


def differences(cloud: Cloud) -> list[str]:
    world = World(cloud)
    return [text for check in CHECKS for text in check(world)]


def settle(cloud: Cloud, seconds: float = 30.0) -> float:
    """Until nothing differs; fails with what does. Returns how long it took."""
    began = time.monotonic()
    while True:
        try:
            found = differences(cloud)
        except (Refused, OSError, ValueError) as error:
            found = [f"the API: {error}"]
        if not found:
            return time.monotonic() - began
        if time.monotonic() - began > seconds:
            raise AssertionError("\n".join(found) + cloud.last_words())
        time.sleep(0.1)


# ------------------------------------------------------------ each kind of thing


def unsettled(world: World) -> Iterator[str]:
    """Pods that are not where they should be."""
    for pod in world.pods:
        meta, status = pod["metadata"], pod.get("status") or {}
        name = f"{meta['namespace']}/{meta['name']}"
        if meta.get("deletionTimestamp"):
            yield f"Pod {name} is still being deleted"
        elif status.get("phase") in (None, "Pending"):
            yield f"Pod {name} is pending: {[status.get(part) for part in PARTS]}"


def mounts(world: World) -> Iterator[str]:
    own = {str(world.run), str(world.data)}
    own |= {f"{world.run}/{name}" for name in ("units", "pods", "mounts")}
    for text in (
        world.inside("cat /proc/self/mountinfo"),
        Path("/proc/self/mountinfo").read_text(),
    ):
        places = Counter(line.split(" ", 5)[4] for line in text.splitlines())
        for place, times in places.items():
            if not place.startswith((f"{world.run}/", f"{world.data}/")) or place in own:
                continue
            if world.stranger(place):
                yield f"mount {place}"
            if times > 1:
                yield f"mount {place}, {times} times"


def namespaces(world: World) -> Iterator[str]:
    for path in (world.run / "network").glob("*"):
        if path.name not in ("frame", "sysctls") and world.stranger(path.name):
            yield f"network file {path.name}"


def cables(world: World) -> Iterator[str]:
    wanted = {host_end(uid) for uid in world.live}
    bridge = world.settings.bridge
    done = subprocess.run(["ip", "-j", "link", "show", "master", bridge], capture_output=True)
    names = {link["ifname"] for link in json.loads(done.stdout or b"[]")}
    yield from (f"veth {name}" for name in sorted(names - wanted))


def addresses(world: World) -> Iterator[str]:
    """Of the network's records: each to one Pod; in the packet rules: none of no Pod."""
    taken: dict[int, str] = {}
    for path in (world.run / "network").glob("*.json"):
        number = json.loads(path.read_bytes())["number"]
        if number in taken:
            yield f"address number {number} of both {path.stem} and {taken[number]}"
        taken[number] = path.stem
    held = {
        one["ip"]
        for pod in world.pods
        if pod["metadata"]["uid"] in world.live and not pod["spec"].get("hostNetwork")
        for one in (pod.get("status") or {}).get("podIPs") or ()
    }
    networks = [ipaddress.ip_network(world.settings.pod_cidr)]
    table = ["nft", "list", "table", "inet", world.settings.name]
    text = subprocess.run(table, capture_output=True, text=True).stdout
    for word in set(re.findall(r"\d+\.\d+\.\d+\.\d+", text)) - held:
        address = ipaddress.ip_address(word)
        if any(address in net and address not in (net[0], net[1]) for net in networks):
            yield f"packet rules lead to {word}"


def cgroups(world: World) -> Iterator[str]:
    name = world.settings.name
    text = world.inside(f"find /sys/fs/cgroup -mindepth 2 -type d -path '*/{name}/*'")
    for line in text.splitlines():
        if not line.endswith(f"/{name}/pods") and world.stranger(line):
            yield f"cgroup {line}"


def processes(world: World) -> Iterator[str]:
    """Container processes by their cgroup; conmon and runtimes by their command line."""
    keepers: Counter[str] = Counter()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            groups = (folder / "cgroup").read_text()
        except OSError:
            continue
        ours = next((x for x in groups.splitlines() if f":/{world.settings.name}/" in x), "")
        if ours and world.stranger(ours):
            yield f"process {folder.name} ({' '.join(words)[:60]}) in {ours}"
        bundle = next(
            (word for word in words if word.startswith(f"{world.run}/units/bundles/")), ""
        )
        if bundle and os.path.basename(words[0]) in ("conmon", "crun", "runc"):
            keepers[os.path.basename(bundle)] += os.path.basename(words[0]) == "conmon"
            if world.stranger(bundle):
                yield f"process {folder.name} of {' '.join(words)[:60]}"
    for unit in world.running:
        if keepers[unit] != 1:
            yield f"{keepers[unit]} conmon for the running {unit}"


def units(world: World) -> Iterator[str]:
    """Writable layers and bundles: those of running containers, and no others."""
    layers = {path.name for path in (world.data / "units").glob("*")}
    bundles = set(world.inside(f"ls {world.run}/units/bundles").split())
    records = set(world.inside(f"ls {world.run}/units/records").split())
    states = set(world.inside(f"cd {world.run}/units/states && ls -d */* | cut -d/ -f2").split())
    exits = set(world.inside(f"ls {world.run}/units/exits").split())
    for what, found in (("layer", layers), ("bundle", bundles), ("record", records), ("state", states)):  # fmt: skip
        yield from (f"{what} of {name}, which does not run" for name in found - world.running)
        if what != "state":
            yield from (f"no {what} of {name}, which runs" for name in world.running - found)
    yield from (f"exit file {name}" for name in exits)


def folders(world: World) -> Iterator[str]:
    for place in (world.run / "pods", world.data / "pods", world.data / "records"):
        for path in place.glob("*"):
            uid = UID.search(path.name)
            wanted = world.known if path.suffix == ".jsonl" else world.live
            if uid is None or uid[0] not in wanted:
                yield f"{path}"
    for path in (Path(world.settings.logs) / "pods").glob("*"):
        uid = UID.search(path.name)
        if uid is None or uid[0] not in world.known:
            yield f"logs {path.name}"
    for path in (world.data / "images" / "work").glob("*"):
        yield f"{path}"


CHECKS = (
    unsettled, mounts, namespaces, cables, addresses, cgroups, processes, units, folders,
)  # fmt: skip
