"""`jindou status`: one screen of what runs, in an instant. Only light modules are imported here."""

from __future__ import annotations

import os
import socket
import time
from argparse import Namespace
from typing import Any

from jindou import __version__
from jindou.cli import services
from jindou.cli.api import Api
from jindou.cli.problems import DONE, FAILED, NOT_RUNNING, Problem
from jindou.cli.term import Terminal, cells, count, cut, duration, pad, size, table
from jindou.settings import Settings


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    api = Api(settings, timeout=3.0)
    processes = services.observe(settings)
    if not api.running():
        return down(terminal, settings, processes, options)
    report = gather(api, settings, processes)
    if options.output == "json":
        import json

        terminal.answer(json.dumps({"v": 1, **report}), always=True)
    elif options.output == "short":
        terminal.answer(headline(report))
    else:
        terminal.answer(render(report, terminal))
    return FAILED if report["trouble"] else DONE


def down(
    terminal: Terminal, settings: Settings, processes: list[services.Running], options: Namespace
) -> int:
    if any(process.pid for process in processes):
        raise Problem(
            "the server does not answer, but a process of Jindou runs",
            "JD-API-501",
            said=services.last_words(settings, "server"),
            do=["jindou logs server", "jindou up"],
            status=NOT_RUNNING,
        )
    if options.output == "json":
        terminal.answer('{"v":1,"running":false}', always=True)
    else:
        start = "jindou up --pretend" if settings.pretend else "jindou up"
        terminal.answer(
            f"jindou {__version__} on {socket.gethostname()} is not running. Start: {start}"
        )
    return NOT_RUNNING


def gather(api: Api, settings: Settings, processes: list[services.Running]) -> dict[str, Any]:
    pods = api.get("/api/v1/pods")["items"]
    nodes = api.get("/api/v1/nodes")["items"]
    cluster = api.get("/api/v1/services")["items"]
    disk = os.statvfs(settings.data)
    trouble = [
        *(f"the {p.name} does not run" for p in processes if p.state != "ok"),
        *(f"node {n['metadata']['name']} is not ready" for n in nodes if not node_ready(n)),
    ]
    return {
        "running": True,
        "host": socket.gethostname(),
        "version": __version__,
        "seconds": max((p.seconds for p in processes), default=0.0),
        "processes": [p._asdict() for p in processes],
        "pretended": settings.pretend,
        "kept": kept(settings),
        "images": images(nodes),
        "pods": {"running": sum(settled(p) for p in pods), "total": len(pods)},
        "services": len(cluster),
        "nodes": [{"name": n["metadata"]["name"], "ready": node_ready(n)} for n in nodes],
        "load": os.getloadavg()[0],
        "cpus": os.cpu_count(),
        "memory": memory(),
        "disk": {
            "path": settings.data,
            "free": disk.f_bavail * disk.f_frsize,
            "total": disk.f_blocks * disk.f_frsize,
        },
        "addresses": addresses(settings, cluster),
        "warnings": [w for pod in pods if (w := warning(pod))],
        "trouble": trouble,
    }


def kept(settings: Settings) -> bool:
    """Would a process that ends be started again?"""
    return services.pid_of(settings, "supervisor") > 0 or (
        services.has_systemd() and os.path.exists(services.unit_path(settings, "server"))
    )


def images(nodes: list[dict[str, Any]]) -> dict[str, int]:
    found = [image for node in nodes for image in node["status"].get("images", [])]
    return {"count": len(found), "bytes": sum(image.get("sizeBytes", 0) for image in found)}


def node_ready(node: dict[str, Any]) -> bool:
    return any(
        c["type"] == "Ready" and c["status"] == "True"
        for c in node.get("status", {}).get("conditions", [])
    )


def pod_ready(pod: dict[str, Any]) -> bool:
    return any(
        c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", [])
    )


def settled(pod: dict[str, Any]) -> bool:
    return pod["status"].get("phase") == "Succeeded" or (
        pod["status"].get("phase") == "Running" and pod_ready(pod)
    )


def warning(pod: dict[str, Any]) -> dict[str, Any] | None:
    """A Pod that should run and does not, for longer than a start takes."""
    if settled(pod) or pod["metadata"].get("deletionTimestamp"):
        return None
    since = age(pod["metadata"]["creationTimestamp"])
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "Ready" and condition.get("lastTransitionTime"):
            since = age(condition["lastTransitionTime"])
    if since < 5:
        return None
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    return {"pod": name, "seconds": since, "reason": reason(pod)}


def reason(pod: dict[str, Any]) -> str:
    for status in [
        *pod["status"].get("initContainerStatuses", []),
        *pod["status"].get("containerStatuses", []),
    ]:
        for state in ("waiting", "terminated"):
            found = status.get("state", {}).get(state, {}).get("reason")
            if found and found not in ("Completed", "ContainerCreating", "PodInitializing"):
                return str(found)
    return str(pod["status"].get("reason") or pod["status"].get("phase", "Pending"))


def age(stamp: str) -> float:
    import calendar

    return max(0.0, time.time() - calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")))


def memory() -> dict[str, int]:
    with open("/proc/meminfo") as file:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in file}
    return {"total": kib["MemTotal"] * 1024, "used": (kib["MemTotal"] - kib["MemAvailable"]) * 1024}


def addresses(settings: Settings, cluster: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found = [(f"https://{settings.api_address}:{settings.api_port}", "Kubernetes API")]
    for service in cluster:
        meta = service["metadata"]
        for port in service["spec"].get("ports", []):
            if port.get("nodePort"):
                scheme = (
                    "http" if port.get("protocol", "TCP") == "TCP" else port["protocol"].lower()
                )
                url = f"{scheme}://{settings.api_address}:{port['nodePort']}"
                found.append((url, f"service {meta['namespace']}/{meta['name']}"))
    return found


def headline(report: dict[str, Any]) -> str:
    warnings, trouble = report["warnings"], report["trouble"]
    verdict = "working"
    if trouble:
        verdict = f"broken, {trouble[0]}"
    elif warnings or not report["kept"]:
        verdict = f"working, {count(len(warnings) + (not report['kept']), 'warning')}"
    played = " (pretended)" if report["pretended"] else ""
    up = duration(report["seconds"])
    return f"jindou {report['version']}{played} on {report['host']}, up {up}: {verdict}"


def render(report: dict[str, Any], terminal: Terminal) -> str:
    used, pods, disk, image = (report[name] for name in ("memory", "pods", "disk", "images"))
    lines = [
        terminal.heading(headline(report)),
        "",
        f"machine   load {report['load']:.1f} on {count(report['cpus'], 'CPU')}, "
        f"{used['used'] / 2**30:.1f} of {size(used['total'])} memory, Linux {release()}",
        f"disk      {size(disk['free'])} of {size(disk['total'])} free for {disk['path']}",
        f"images    {count(image['count'], 'image')}, {size(image['bytes'])}",
        f"running   {pods['running']} of {count(pods['total'], 'pod')}   "
        f"{count(report['services'], 'service')}   {count(len(report['nodes']), 'node')}",
        "",
    ]
    rows = [["PROCESS", "STATE", "PID", "CPU", "MEMORY", "UP"]]
    for process in report["processes"]:
        rows.append(
            [
                process["name"],
                process["state"],
                str(process["pid"] or "-"),
                f"{process['cpu'] * 100:.1f}%",
                size(process["memory"]),
                duration(process["seconds"]),
            ]
        )
    lines += [
        table(rows, right=(2, 3, 4, 5)),
        "",
        table([["ADDRESS", "WHAT"], *report["addresses"]]),
    ]
    if notes := trouble_lines(report, terminal):
        lines += ["", *notes]
    return "\n".join(lines)


def release() -> str:
    """6.1.0-26 of 6.1.0-26-amd64: what tells kernels apart, in few columns."""
    return cut(os.uname().release, 20)


def trouble_lines(report: dict[str, Any], terminal: Terminal) -> list[str]:
    """Each with the command that tells more: to the right where there is room, else below."""
    shown = [("FAIL", text, "jindou doctor") for text in report["trouble"]]
    if not report["kept"]:
        shown.append(
            ("warn", "nobody starts a process again that ends", "jindou down && jindou up")
        )
    warnings = report["warnings"]
    for one in warnings[:8]:
        namespace, _, name = one["pod"].partition("/")
        where = "" if namespace == "default" else f" -n {namespace}"
        text = f"pod {one['pod']} not ready for {duration(one['seconds'])}: {one['reason']}"
        shown.append(("warn", text, f"jindou why pod/{name}{where}"))
    if len(warnings) > 8:
        shown.append(("warn", f"{len(warnings) - 8} more pods not ready", "kubectl get pods -A"))
    width = max((cells(text) for _, text, _ in shown), default=0)
    lines = []
    for state, text, do in shown:
        word = terminal.state(state, out=True)
        if 6 + width + 3 + max(len(one[2]) for one in shown) <= terminal.width:
            lines.append(f"{word}  {pad(text, width)}   {do}")
        else:
            lines += [f"{word}  {text}", f"      {do}"]
    return lines
