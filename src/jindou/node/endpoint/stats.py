"""What the node and its containers use, in the forms that the kubelet offers.

Read when asked, never kept. Source: https://kubernetes.io/docs/reference/instrumentation/node-metrics/
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jindou.machine.images import Images
from jindou.machine.runtimes import Runtime, Usage
from jindou.node import Containers, Running
from jindou.node.clock import stamp
from jindou.node.facts import existing, host_name, meminfo
from jindou.node.volumes.volumes import Volumes
from jindou.objects.kinds import Object
from jindou.settings import Settings

TICKS = os.sysconf("SC_CLK_TCK")


class Sample(NamedTuple):
    running: Running
    usage: Usage


class Stats:
    def __init__(
        self,
        name: str,
        settings: Settings,
        containers: Containers,
        runtime: Runtime,
        images: Images,
        volumes: Volumes | None,
        pods: Callable[[], Sequence[Object]],
    ) -> None:
        self._name = name or host_name()
        self._settings = settings
        self._containers = containers
        self._runtime = runtime
        self._images = images
        self._volumes = volumes
        self._pods = pods

    async def _samples(self) -> list[Sample]:
        """Containers that ended meanwhile are left out."""
        held = self._containers.statistics()
        usages = await asyncio.gather(
            *(self._runtime.usage(one.unit) for one in held), return_exceptions=True
        )
        return [
            Sample(one, usage)
            for one, usage in zip(held, usages, strict=True)
            if isinstance(usage, Usage)
        ]

    # ------------------------------------------------------------ summary

    async def summary(self) -> dict[str, Any]:
        now = stamp(time.time())
        samples = await self._samples()
        busy, memory = cpu_seconds(), meminfo()
        pods: dict[str, list[Sample]] = {}
        for sample in samples:
            pods.setdefault(sample.running.uid, []).append(sample)
        objects = {pod["metadata"]["uid"]: pod for pod in self._pods()}
        node = {
            "nodeName": self._name,
            "startTime": stamp(boot_time()),
            "cpu": {"time": now, "usageCoreNanoSeconds": int(busy * 1e9)},
            "memory": {
                "time": now,
                "availableBytes": memory.get("MemAvailable", 0),
                "usageBytes": memory.get("MemTotal", 0) - memory.get("MemFree", 0),
                "workingSetBytes": working_set(memory),
            },
            "fs": file_system(self._settings.data, now),
        }
        shown = [await self._pod(held, objects.get(uid), now) for uid, held in pods.items()]
        return {"node": node, "pods": shown}

    async def _pod(self, held: list[Sample], pod: Object | None, now: str) -> dict[str, Any]:
        first = held[0].running
        containers = [await self._container(sample, now) for sample in held]
        used = {}
        if pod is not None and self._volumes is not None:
            used = await self._volumes.usage(pod)
        layers = sum(one["rootfs"]["usedBytes"] + one["logs"]["usedBytes"] for one in containers)
        return {
            "podRef": {"name": first.pod, "namespace": first.namespace, "uid": first.uid},
            "startTime": stamp(min(sample.running.started for sample in held)),
            "containers": containers,
            "cpu": cpu(sum(sample.usage.cpu for sample in held), now),
            "memory": memory_of([sample.usage for sample in held], now),
            "volume": [{"time": now, "name": name, "usedBytes": size} for name, size in used.items()],
            "ephemeral-storage": {"time": now, "usedBytes": layers + sum(used.values())},
            "process_stats": {"process_count": sum(sample.usage.pids for sample in held)},
        }  # fmt: skip

    async def _container(self, sample: Sample, now: str) -> dict[str, Any]:
        running = sample.running
        try:
            layer = await self._images.usage(running.unit)
        except Exception:  # its root has just been taken away
            layer = 0
        try:
            log = self._containers.log(running.namespace, running.pod, running.container)
            logs = sum(part.stat().st_size for part in log.parent.glob("*.log*"))
        except Exception:
            logs = 0
        return {
            "name": running.container,
            "startTime": stamp(running.started),
            "cpu": cpu(sample.usage.cpu, now),
            "memory": memory_of([sample.usage], now),
            "rootfs": {"time": now, "usedBytes": layer},
            "logs": {"time": now, "usedBytes": logs},
        }

    # ------------------------------------------------------------ Prometheus

    async def resource(self) -> str:
        samples = await self._samples()
        memory = meminfo()
        lines = [
            *family("node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds", [("", cpu_seconds())]),
            *family("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes", [("", working_set(memory))]),
            *family("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the container in core-seconds", [(labels(s.running), s.usage.cpu) for s in samples]),
            *family("container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes", [(labels(s.running), s.usage.working_set) for s in samples]),
            *family("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds", [(labels(s.running), s.running.started) for s in samples]),
            *family("pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds", by_pod(samples, "cpu")),
            *family("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes", by_pod(samples, "working_set")),
            *family("resource_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise", [("", 0)]),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    async def cadvisor(self) -> str:
        samples = await self._samples()
        lines = [
            *family("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", [(labels(s.running), s.usage.cpu) for s in samples]),
            *family("container_memory_usage_bytes", "gauge", "Current memory usage in bytes.", [(labels(s.running), s.usage.memory) for s in samples]),
            *family("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", [(labels(s.running), s.usage.working_set) for s in samples]),
            *family("container_processes", "gauge", "Number of processes running inside the container.", [(labels(s.running), s.usage.pids) for s in samples]),
            *family("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.", [(labels(s.running), s.running.started) for s in samples]),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"


def cpu(seconds: float, now: str) -> dict[str, Any]:
    return {"time": now, "usageCoreNanoSeconds": int(seconds * 1e9)}


def memory_of(usages: list[Usage], now: str) -> dict[str, Any]:
    return {
        "time": now,
        "usageBytes": sum(usage.memory for usage in usages),
        "workingSetBytes": sum(usage.working_set for usage in usages),
    }


def labels(running: Running) -> str:
    held = {
        "container": running.container, "namespace": running.namespace, "pod": running.pod,
    }  # fmt: skip
    return ",".join(f'{name}="{value}"' for name, value in held.items())


def by_pod(samples: list[Sample], figure: str) -> list[tuple[str, float]]:
    sums: dict[str, float] = {}
    for running, usage in samples:
        key = f'namespace="{running.namespace}",pod="{running.pod}"'
        sums[key] = sums.get(key, 0) + getattr(usage, figure)
    return list(sums.items())


def family(name: str, kind: str, text: str, values: Sequence[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for held, value in values:
        yield f"{name}{{{held}}} {value:.10g}" if held else f"{name} {value:.10g}"


def cpu_seconds() -> float:
    """What all processors have spent, other than idling or waiting for a disk."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    ticks = [int(word) for word in words]
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) / TICKS


def boot_time() -> float:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def working_set(memory: dict[str, int]) -> int:
    return memory.get("MemTotal", 0) - memory.get("MemAvailable", 0)


def file_system(folder: str, now: str) -> dict[str, Any]:
    status = os.statvfs(existing(folder))
    return {
        "time": now,
        "availableBytes": status.f_bavail * status.f_frsize,
        "capacityBytes": status.f_blocks * status.f_frsize,
        "usedBytes": (status.f_blocks - status.f_bfree) * status.f_frsize,
        "inodesFree": status.f_favail,
        "inodes": status.f_files,
        "inodesUsed": status.f_files - status.f_ffree,
    }
