"""`jindou backup` and `jindou restore`: all objects and keys in one file, while the cloud runs."""

from __future__ import annotations

import os
import tarfile
import time
import zlib
from argparse import Namespace

from jindou.cli import services
from jindou.cli.problems import DONE, NOT_RUNNING, USAGE, Problem
from jindou.cli.root import become_root, invoking_user
from jindou.cli.steps import Steps
from jindou.cli.term import Terminal, size
from jindou.settings import Settings

COPY, STOP, PUT, START = (
    "copy the objects",
    "stop the server",
    "put the backup in place",
    "start the server",
)
OBJECTS, KEYS = "store.db", "pki"


def backup(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    target = os.path.abspath(options.file or time.strftime("jindou-%Y%m%d-%H%M%S.tar.gz"))
    writable(target)
    if not os.path.exists(os.path.join(settings.data, OBJECTS)):
        raise Problem(
            "there is nothing to back up", "JD-API-501", do=["jindou up"], status=NOT_RUNNING
        )
    if not os.access(settings.data, os.W_OK):
        why = [f"read       {settings.data}"]
        become_root(
            terminal, settings, why, yes=options.yes, plan="jindou backup -h", answered=["--yes"]
        )
    steps = Steps(terminal, [COPY])
    with steps.step(COPY) as step:
        step.say(write(settings, target))
    terminal.answer(target, always=True)
    return DONE


def writable(target: str) -> None:
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise Problem(
            f"there is no folder {folder}", "JD-STO-206", do=[f"mkdir -p {folder}"], status=USAGE
        )
    if os.path.isdir(target):
        raise Problem(
            f"{target} is a folder", "JD-STO-206", do=[f"jindou backup {target}/jindou.tar.gz"],
            status=USAGE,
        )  # fmt: skip


def write(settings: Settings, target: str) -> str:
    """The archive, whole or not at all, for its owner only. Says what is in it."""
    from jindou.serve import backup as copy_store

    uid, gid, _ = invoking_user()
    part = f"{target}.part"
    copy = os.path.join(settings.data, "backup.db")
    try:
        revision = copy_store(settings, copy)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with (
            os.fdopen(descriptor, "wb") as file,
            tarfile.open(fileobj=file, mode="w:gz") as archive,
        ):
            archive.add(copy, OBJECTS)
            archive.add(os.path.join(settings.data, KEYS), KEYS)
        os.chown(part, uid, gid)
        os.replace(part, target)
    finally:
        for leftover in (copy, part):
            if os.path.exists(leftover):
                os.unlink(leftover)
    return f"revision {revision}, {size(os.path.getsize(target))}"


def restore(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    source = os.path.abspath(options.file)
    archive = opened(source)
    running = services.pid_of(settings, "server") > 0
    titles = [*([STOP] if running else []), PUT, *([START] if running else [])]
    if options.plan:
        for title in titles:
            terminal.answer(title)
        return DONE
    if not options.yes:
        question = "All objects of now are replaced by those of the backup."
        if not terminal.interactive:
            raise Problem(
                "restore asks first, and there is no terminal to ask on",
                "JD-CLI-614",
                why=question,
                now="nothing was changed",
                do=[f"jindou restore {options.file} --yes"],
                status=USAGE,
            )
        if not terminal.ask(f"{question} Go on?", False):
            terminal.note("Nothing was changed.")
            return DONE
    if not settings.pretend:
        why = [f"write      {settings.data}"]
        become_root(terminal, settings, why, yes=True, plan="jindou restore -h", answered=["--yes"])
    steps = Steps(terminal, titles)
    with archive:
        if running:
            with steps.step(STOP):
                services.stop(settings)
        try:
            with steps.step(PUT) as step:
                step.say(f"{put_objects(archive, settings)} objects")
                put_keys(archive, settings)
        finally:
            if running:
                with steps.step(START):
                    services.start(settings)
                    services.wait_for_socket(settings, 30.0)
    terminal.answer(
        "Containers went on running; those that the backup does not know are ended now."
    )
    return DONE


def opened(source: str) -> tarfile.TarFile:
    try:
        archive = tarfile.open(source, "r:gz")  # noqa: SIM115
        names = archive.getnames()
        why = "" if OBJECTS in names else f"it holds no {OBJECTS}"
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        why = getattr(error, "strerror", "") or str(error)
    if why:
        raise Problem(
            f"{source} is not a backup",
            "JD-STO-204",
            why=why,
            now="nothing was changed",
            status=USAGE,
        )
    return archive


def put_objects(archive: tarfile.TarFile, settings: Settings) -> int:
    from jindou.serve import restore as put_store

    os.makedirs(settings.data, 0o711, exist_ok=True)
    staged = os.path.join(settings.data, "restore.db")
    content = archive.extractfile(OBJECTS)
    assert content is not None
    try:
        with open(staged, "wb") as file:
            while piece := content.read(1 << 20):
                file.write(piece)
        return put_store(settings, staged)
    finally:
        if os.path.exists(staged):
            os.unlink(staged)


def put_keys(archive: tarfile.TarFile, settings: Settings) -> None:
    """The plain files of the keys' folder; nothing else of the archive names a place on this machine."""
    folder = os.path.join(settings.data, KEYS)
    os.makedirs(folder, 0o711, exist_ok=True)
    for member in archive.getmembers():
        place, _, name = member.name.rpartition("/")
        content = archive.extractfile(member) if place == KEYS and member.isfile() else None
        if content is None:
            continue
        part = os.path.join(folder, f"{name}.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, member.mode & 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.read())
        os.replace(part, os.path.join(folder, name))
