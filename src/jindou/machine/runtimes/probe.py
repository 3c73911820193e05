"""Which OCI runtime really runs a container here: each is tried with a tiny one, once per boot.

The container is the machine's own root, read-only, with a default system call filter, in groups of
its own: what makes a runtime fail later (a hybrid cgroup hierarchy, a missing namespace, a filter
that is not applied) makes it fail here. It runs in a mount namespace of its own; nothing remains.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jindou.machine.linux.cgroups import Cgroups
from jindou.machine.linux.processes import PATH
from jindou.machine.runtimes import Unit, bundle, conmon, filters, host, seccomp
from jindou.settings import Settings

RUNTIMES = ("crun", "runc")  # the first that works is used: crun starts in half the time
TIMEOUT = 20
SCRIPT = """
set -e
if [ -d /sys/fs/cgroup/unified ]; then mount -t tmpfs tmpfs /sys/fs/cgroup/unified; fi
mkdir -p "$1/root"
mount --rbind / "$1/root"
exec "$2" --root="$1/states" run --bundle "$1" "$3"
"""


class RuntimeProbe(NamedTuple):
    name: str
    works: bool
    version: str = ""
    reason: str = ""  # why it does not work, in the runtime's own words
    path: str = ""


def probe(settings: Settings | None = None, names: Sequence[str] = RUNTIMES) -> list[RuntimeProbe]:
    """Verdicts in the order of preference. Cached for this boot under `settings.run`, if given;
    but where none works they are all tried again, for the reason may have passed."""
    cache = Path(settings.run) / "runtimes.json" if settings else None
    kept = _read(cache) if cache else {}
    if not any(one.get("verdict", {}).get("works") for one in kept.values()):
        kept = {}
    found, changed = [], False
    for name in names:
        key = _key(name)
        if kept.get(name, {}).get("key") != key:
            kept[name] = {"key": key, "verdict": try_runtime(name)._asdict()}
            changed = True
        found.append(RuntimeProbe(**kept[name]["verdict"]))
    if cache and changed:
        _write(cache, kept)
    return found


def choose(settings: Settings | None = None) -> RuntimeProbe | None:
    """The runtime to use; None where none works."""
    return next((verdict for verdict in probe(settings) if verdict.works), None)


def _key(name: str) -> list[Any]:
    """What a verdict depends on: this boot, the program, and who asks."""
    path = shutil.which(name, path=PATH)
    found = os.stat(path) if path else None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return [boot, path, found and [found.st_size, found.st_mtime_ns, found.st_ino], os.geteuid()]


def _read(cache: Path) -> dict[str, Any]:
    try:
        kept = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _write(cache: Path, kept: dict[str, Any]) -> None:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(kept))
        part.rename(cache)
    except OSError:  # it is tried again next time
        pass


def try_runtime(name: str) -> RuntimeProbe:
    path = shutil.which(name, path=PATH)
    if not path:
        return RuntimeProbe(name, False, reason="it is not installed")
    version = _version(path)
    if os.geteuid() != 0:
        return RuntimeProbe(name, False, version, "running a container needs root", path)
    try:
        reason = _run(name, path)
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(error)
    return RuntimeProbe(name, not reason, version, reason, path)


def _version(path: str) -> str:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=TIMEOUT)
    except (OSError, subprocess.SubprocessError):
        return ""
    match = re.search(r"version (\S+)", done.stdout)
    return match[1].partition("+")[0] if match else ""


def _run(name: str, path: str) -> str:
    """Why it failed, or nothing."""
    cgroups = Cgroups()
    id = f"jindou-probe-{os.getpid()}-{name}"
    with tempfile.TemporaryDirectory(prefix="jindou-probe-") as place:
        document = _document(name, Path(place), id, cgroups)
        (Path(place) / "config.json").write_text(json.dumps(document))
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT]
        try:
            done = subprocess.run(
                [*command, "sh", place, path, id],
                capture_output=True, text=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL,
                env={**os.environ, "PATH": PATH},
            )  # fmt: skip
        finally:
            cgroups.kill(id)
            cgroups.delete(id)
    if done.returncode != 0:
        return conmon.sentence(done.stderr or done.stdout)
    if "Seccomp:\t2" not in done.stdout:
        return "the system call filter was not applied"
    return ""


def _document(name: str, place: Path, id: str, cgroups: Cgroups) -> dict[str, Any]:
    unit = Unit(
        id,
        place / "root",
        argv=("/bin/cat", "/proc/self/status"),
        namespaces={"network": "", "uts": "", "ipc": "", "pid": ""},
        readonly_root=True,
    )
    profile = seccomp.default_profile(bundle.CAPABILITIES)
    compiled = filters.compiled(profile, place) if name == "crun" else ""
    return bundle.config(
        unit, host.facts(cgroups), cgroups.full(id), bundle.Filter(profile, compiled)
    )
