"""`jindou backup` and `jindou restore`: all objects and keys in one file, while the cloud runs."""

from __future__ import annotations

import os
import tarfile
import time
from argparse import Namespace

from jindou.cli import services
from jindou.cli.api import Api
from jindou.cli.problems import DONE, USAGE, Problem
from jindou.cli.root import become_root
from jindou.cli.term import Steps, Terminal, size
from jindou.settings import Settings

COPY, STOP, PUT, START = (
    "copy the objects",
    "stop the server",
    "put the backup in place",
    "start the server",
)
OBJECTS, KEYS = "store.db", "pki"


def backup(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    become_root(
        terminal, [f"read       {settings.data}"], yes=options.yes, plan="jindou backup --help"
    )
    target = os.path.abspath(options.file or time.strftime("jindou-%Y%m%d-%H%M%S.tar.gz"))
    part = f"{target}.part"
    copy = os.path.join(settings.data, "backup.db")
    steps = Steps(terminal, [COPY])
    with steps.step(COPY) as step:
        from jindou.serve import backup as copy_store

        try:
            revision = copy_store(settings, copy)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with (
                os.fdopen(descriptor, "wb") as file,
                tarfile.open(fileobj=file, mode="w:gz") as archive,
            ):
                archive.add(copy, OBJECTS)
                archive.add(os.path.join(settings.data, KEYS), KEYS)
            os.replace(part, target)
        finally:
            for leftover in (copy, part):
                if os.path.exists(leftover):
                    os.unlink(leftover)
        step.say(f"revision {revision}, {size(os.path.getsize(target))}")
    terminal.answer(target)
    return DONE


def restore(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    source = os.path.abspath(options.file)
    try:
        archive = tarfile.open(source, "r:gz")  # noqa: SIM115
        names = archive.getnames()
    except (OSError, tarfile.TarError) as error:
        raise Problem(
            f"{source} is not a backup",
            "JD-STO-204",
            why=str(error),
            now="nothing was changed",
            status=USAGE,
        ) from error
    if OBJECTS not in names or any(
        name.startswith(("/", "..")) or "/../" in name for name in names
    ):
        raise Problem(
            f"{source} is not a backup",
            "JD-STO-204",
            why=f"it holds no {OBJECTS}",
            now="nothing was changed",
            status=USAGE,
        )
    if (
        terminal.interactive
        and not options.yes
        and not terminal.ask(
            "All objects of now are replaced by those of the backup. Go on?", False
        )
    ):
        return DONE
    become_root(
        terminal, [f"write      {settings.data}"], yes=options.yes, plan="jindou restore --help"
    )
    was_running = Api(settings).running()
    steps = Steps(
        terminal, [*([STOP] if was_running else []), PUT, *([START] if was_running else [])]
    )
    staged = os.path.join(settings.data, "restore.db")
    with archive:
        content = archive.extractfile(OBJECTS)
        assert content is not None
        with open(staged, "wb") as file:
            while piece := content.read(1 << 20):
                file.write(piece)
        if was_running:
            with steps.step(STOP):
                services.stop(settings)
        try:
            with steps.step(PUT) as step:
                from jindou.serve import restore as put_store

                step.say(f"{put_store(settings, staged)} objects")
                put_keys(archive, settings)
        finally:
            if os.path.exists(staged):
                os.unlink(staged)
            if was_running:
                with steps.step(START) as step:
                    services.start(settings)
                    services.wait_for_socket(settings, 30.0)
    terminal.note("Containers went on running; those that the backup does not know are ended now.")
    return DONE


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
