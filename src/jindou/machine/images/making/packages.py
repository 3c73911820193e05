"""mmdebstrap and apt, watched while they work, and which distribution they are asked for.

Both run in process and mount namespaces of their own that end with us, whatever ends us; all that
they leave behind is in work/. Their lines are read for how many packages there are to come.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jindou.machine.images import ImageError, Progress, Report
from jindou.machine.images.making.recipes import Recipe
from jindou.machine.linux import processes

CONFINED = (
    "setpriv", "--pdeathsig", "KILL",
    "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
    "--mount-proc", "--",
)  # fmt: skip
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SLIM = (
    "force-unsafe-io",
    "path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/lintian/*", "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright",
)  # fmt: skip
OPTIONS = (
    "--variant=minbase", "--format=tar", *(f"--dpkgopt={option}" for option in SLIM),
    '--customize-hook=rm -f "$1/etc/resolv.conf" "$1/etc/hostname"',  # this machine's
)  # fmt: skip
NEW = re.compile(r"\d+ upgraded, (\d+) newly installed")
LINES = re.compile(r"(Get:\d+ \S+ \S+ \S+ (\S+)|Unpacking (\S+)|Setting up (\S+)) ")


class Suite(NamedTuple):
    """What to make a base image of: a release, and where its packages are ("deb URI ..." lines)."""

    name: str
    sources: tuple[str, ...] = ()


class Meter:
    """Reads what apt and dpkg say: each package is fetched, unpacked and set up."""

    def __init__(self) -> None:
        self._done = 0
        self._total = 0
        self._counting = False
        self.errors: list[str] = []

    def read(self, line: str) -> Progress | None:
        if match := NEW.match(line):
            self._total += 3 * int(match[1])
            self._counting = True
            return self._progress("fetch packages", match[1])
        if line.startswith(("E: ", "dpkg: error")):
            self.errors.append(line)
        if self._counting and (match := LINES.match(line)):
            self._done += 1
            step = "fetch packages" if match[2] else "unpack packages" if match[3] else "set up"
            return self._progress(step, (match[2] or match[3] or match[4]).partition(":")[0])
        return None

    def _progress(self, step: str, detail: str) -> Progress:
        return Progress(step, min(self._done, self._total), self._total, detail)


def can_bootstrap() -> bool:
    """Whether base images can be made here; elsewhere the same names are pulled."""
    return os.geteuid() == 0 and all(
        shutil.which(name, path=processes.PATH) for name in ("mmdebstrap", "setpriv", "unshare")
    )


def host_suite() -> Suite:
    """This machine's own release, from where its own packages come."""
    try:
        release = parse_release(Path("/etc/os-release").read_text())
    except OSError:
        release = {}
    etc = Path("/etc/apt")
    places = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    texts = {}
    for place in places:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            texts[place.name] = place.read_text()
    return choose_suite(release, texts, KEYRING.exists())


def choose_suite(release: Mapping[str, str], texts: Mapping[str, str], keyring: bool) -> Suite:
    """Debian's release of this machine; on another distribution Debian's stable one where its keys
    are here, else the machine's own. `texts`: its apt sources, by file name."""
    codename = release.get("VERSION_CODENAME", "")
    if release.get("ID") != "debian" and keyring:
        return Suite("stable")
    if not codename:
        return Suite("stable")
    found = [line for name, text in texts.items() for line in read_sources(name, text, codename)]
    return Suite(codename, tuple(dict.fromkeys(found)))


def parse_release(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value.strip().strip('"') for key, mark, value in pairs if mark}


def read_sources(name: str, text: str, codename: str) -> list[str]:
    """One-line entries for a release (and its updates and security), from either format of apt."""
    found = []
    if name.endswith(".list"):
        for line in text.splitlines():
            match = re.fullmatch(
                r"deb\s+(\[[^\]]*\]\s+)?(https?://\S+)\s+(\S+)\s+(.+)", line.strip()
            )
            if match and _matches(match[3], codename):
                options = match[1].strip() + " " if match[1] else ""
                found.append(f"deb {options}{match[2]} {match[3]} {match[4].split('#')[0].strip()}")
        return found
    if not name.endswith(".sources"):
        return []
    for stanza in re.split(
        r"\n\s*\n", "\n".join(line for line in text.splitlines() if line[:1] != "#")
    ):
        fields = {
            key.strip().lower(): value.strip()
            for key, mark, value in (line.partition(":") for line in stanza.splitlines())
            if mark
        }
        key = fields.get("signed-by", "")
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        if "signed-by" in fields and not key.startswith("/"):
            continue
        options = f"[signed-by={key}] " if key else ""
        found += [
            f"deb {options}{uri} {suite} {fields.get('components', '')}"
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
            if uri.startswith(("http://", "https://")) and _matches(suite, codename)
        ]
    return found


def _matches(suite: str, codename: str) -> bool:
    return suite in (codename, f"{codename}-updates", f"{codename}-security", f"{codename}/updates")


async def make_base(suite: Suite, tar: Path, work: Path, report: Report) -> None:
    """A minimal system of a release, as one tar file."""
    report(Progress("read package lists", 0, 0, suite.name))
    options = [f"--dpkgopt={option}" for option in SLIM]
    options.append(
        '--customize-hook=rm -f "$1/etc/resolv.conf" "$1/etc/hostname"'
    )  # this machine's
    await watch(
        (*CONFINED, "mmdebstrap", "--verbose", *OPTIONS,
         suite.name, str(tar), *suite.sources),
        {"TMPDIR": str(work)}, report,
    )  # fmt: skip


async def add_packages(recipe: Recipe, lower: Sequence[Path], work: Path, report: Report) -> Path:
    """Packages, accounts and files of a recipe over a base; returns the folder with the changes."""
    for name in ("root", "upper", "work", "lists", "cache", "files"):
        (work / name).mkdir(mode=0o755)
    (work / "cache" / "archives" / "partial").mkdir(parents=True)
    (work / "lists" / "partial").mkdir()
    for number, (_, text) in enumerate(recipe.files.values()):
        (work / "files" / str(number)).write_text(text)
    script = work / "script"
    script.write_text(render(recipe, lower, work))
    report(Progress("read package lists", 0, 0, " ".join(recipe.packages)))
    await watch((*CONFINED, "sh", "-eu", str(script)), {}, report)
    return work / "upper"


def render(recipe: Recipe, lower: Sequence[Path], work: Path) -> str:
    """The shell script that makes a recipe's layer; it runs in namespaces of its own."""
    quote = shlex.quote
    root = quote(str(work / "root"))
    below = ":".join(str(path) for path in reversed(lower))
    options = f"lowerdir={below},upperdir={work}/upper,workdir={work}/work"
    lines = [
        f"mount -t overlay overlay -o {quote(f'{options},index=off,redirect_dir=off,metacopy=off')} {root}",
        f"mount -t proc proc {root}/proc",
        f"mount --rbind /dev {root}/dev",
        f"mount -t tmpfs tmpfs {root}/tmp",
        f"mount -t tmpfs tmpfs {root}/run",
        f"mount --bind {quote(str(work / 'lists'))} {root}/var/lib/apt/lists",
        f"mount --bind {quote(str(work / 'cache'))} {root}/var/cache/apt",
        f"rm -f {root}/etc/resolv.conf",
        f"cp -L /etc/resolv.conf {root}/etc/resolv.conf",
        f"printf '#!/bin/sh\\nexit 101\\n' > {root}/usr/sbin/policy-rc.d",
        f"chmod 755 {root}/usr/sbin/policy-rc.d",
        "export DEBIAN_FRONTEND=noninteractive LC_ALL=C",
        "proxy=$(apt-config shell P Acquire::http::Proxy 2>/dev/null || true)",
        'P=; eval "$proxy"',
        "apt() { chroot "
        + root
        + ' apt-get -q -y -o APT::Sandbox::User=root ${P:+-o Acquire::http::Proxy="$P"} "$@"; }',
    ]
    for name, number in recipe.accounts.items():
        lines += [
            f"chroot {root} groupadd --system --gid {number} {name}",
            f"chroot {root} useradd --system --uid {number} --gid {number} --no-create-home"
            f" --home-dir /nonexistent --shell /usr/sbin/nologin {name}",
        ]
    lines += ["apt update", f"apt install --no-install-recommends {' '.join(recipe.packages)}"]
    for path, (mode, owner) in recipe.folders.items():
        lines += [
            f"mkdir -p {root}/{path}",
            f"chroot {root} chown {owner}: /{path}",
            f"chmod {mode:o} {root}/{path}",
        ]
    for number, (path, (mode, _)) in enumerate(recipe.files.items()):
        lines.append(f"install -D -m {mode:o} {quote(f'{work}/files/{number}')} {root}/{path}")
    for path, target in recipe.links.items():
        lines += [f"mkdir -p $(dirname {root}/{path})", f"ln -sfn {target} {root}/{path}"]
    lines += [
        f"cd {root}",
        "rm -f etc/resolv.conf usr/sbin/policy-rc.d etc/passwd- etc/group- etc/shadow- etc/gshadow-",
        "rm -rf var/log/apt var/log/dpkg.log var/log/alternatives.log var/lib/dpkg/*-old",
        "rm -rf var/cache/debconf/*-old var/cache/ldconfig",
    ]
    return "\n".join(lines) + "\n"


async def watch(argv: Sequence[str], env: Mapping[str, str], report: Report) -> None:
    """Run it, and tell how far it is. A cancellation kills it and all that it started."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        whole = {**os.environ, "PATH": processes.PATH, "LC_ALL": "C", **env}
        pid = processes.spawn(argv, files={1: theirs, 2: theirs}, env=whole)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    meter = Meter()
    try:
        os.set_blocking(ours, False)
        rest = b""
        while data := await _some(ours):
            *lines, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                if progress := meter.read(line.decode("utf-8", "replace")):
                    report(progress)
        code = await processes.wait(pid)
    except BaseException:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)  # noqa: ASYNC222 - it was killed
        raise
    finally:
        os.close(ours)
    if code:
        program = next(word for word in argv[len(CONFINED) :] if word != "sh")
        name = "apt" if program.startswith("-") else program
        why = meter.errors[-1].removeprefix("E: ") if meter.errors else f"exit code {code}"
        raise ImageError(f"{name} could not make the image: {why}")


async def _some(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, 65536)
        except BlockingIOError:
            await processes.readable(descriptor)
