"""What `jindou up` says at the beginning and at the end: the machine, the addresses, what to try."""

from __future__ import annotations

import os
import platform
import socket
import textwrap
from typing import Any

from jindou import __version__
from jindou.cli import services
from jindou.cli.api import Api
from jindou.cli.introduce import current_context, introduce
from jindou.cli.problems import DONE
from jindou.cli.steps import tell
from jindou.cli.term import Terminal, count, duration, size
from jindou.settings import Settings


def machine_line(settings: Settings, width: int) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    existing = settings.data
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    disk = os.statvfs(existing)
    return textwrap.fill(
        f"jindou {__version__} on {socket.gethostname()}: {system()}, {platform.machine()}, "
        f"{count(os.cpu_count() or 1, 'CPU')}, {size(memory)} memory, "
        f"{size(disk.f_bavail * disk.f_frsize)} free",
        width,
    )


def system() -> str:
    """Debian 12, Ubuntu 24.04, Arch Linux."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "Linux"
    name = release.get("NAME", "Linux").replace(" GNU/Linux", "")
    return f"{name} {release.get('VERSION_ID', '')}".rstrip()


def already(terminal: Terminal, settings: Settings) -> int:
    warning = introduce(settings)
    seconds = max(process.seconds for process in services.observe(settings))
    pods = Api(settings).get("/api/v1/pods")["items"]
    running = sum(pod["status"].get("phase") == "Running" for pod in pods)
    if terminal.output == "json":
        tell(terminal, {"id": "up", "state": "ok", "detail": "already up", "ms": 0})
        return DONE
    host = socket.gethostname()
    terminal.answer(
        f"jindou {__version__} is already up on {host}, for {duration(seconds)}. Nothing to do.\n"
        f"{running} of {count(len(pods), 'pod')} running. More: jindou status"
    )
    warn(terminal, warning)
    return DONE


def warn(terminal: Terminal, warning: str) -> None:
    if warning:
        terminal.note(f"\n{terminal.state('warn')}  {warning}")
        terminal.note(
            '      do: eval "$(jindou env kubectl)"   points this shell\'s kubectl at jindou'
        )


def summary(
    terminal: Terminal,
    settings: Settings,
    first: bool,
    urls: list[tuple[str, str]],
    warning: str,
    seconds: float,
) -> None:
    address = f"https://{settings.api_address}:{settings.api_port}"
    if terminal.output == "json":
        found = {"Kubernetes": address, **dict(urls)}
        event: dict[str, Any] = {"id": "up", "state": "ok", "ms": int(seconds * 1000)}
        tell(terminal, {**event, "addresses": found, **({"warning": warning} if warning else {})})
        return
    host = socket.gethostname()
    terminal.note()
    if not first and not urls:
        kept = "Packages, images and your data were in place."
        terminal.answer(f"jindou is ready on {host} ({duration(seconds)}). {kept}")
        warn(terminal, warning)
        return
    terminal.answer(f"jindou is ready on {host}. It took {duration(seconds)}.\n")
    rows = [("Kubernetes", address, f"context {settings.name}")]
    rows += [(name, url, "open it in a browser") for name, url in urls]
    width = max(len(url) for _, url, _ in rows)
    for name, url, what in rows:
        terminal.answer(f"  {name:<12} {url:<{width}}   {what}")
    context = "" if current_context() == settings.name else f" --context {settings.name}"
    terminal.answer("\nTry:")
    terminal.answer(f"  kubectl{context} get pods --all-namespaces")
    terminal.answer(f"  kubectl{context} run shell --image=busybox --restart=Never -it --rm -- sh")
    if context:
        terminal.answer("\nYour own kubectl default is as it was.")
    terminal.answer(last_line(terminal))
    warn(terminal, warning)


def last_line(terminal: Terminal) -> str:
    more = ("Everything: jindou status", "Stop: jindou down", "Logs: jindou logs server")
    return ("     " if terminal.columns > 78 else "\n").join(more)
