"""Images from packages: what the recipes say, made once, with layers shared and kept for next time.

An image is marked with the digest of what it was made of (the recipe, the layer below, this
machine's release); as long as one with the right mark is here, under whatever name, it is taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

from jindou import __version__
from jindou.machine.images import Image, ImageError, Progress, Report
from jindou.machine.images.content import manifests
from jindou.machine.images.content.contents import Contents, Hold, remove
from jindou.machine.images.content.intake import Taken, assemble, known_layer, take_plain
from jindou.machine.images.content.layers import chain_ids
from jindou.machine.images.content.manifests import Descriptor
from jindou.machine.images.content.work import in_thread
from jindou.machine.images.making import busybox, packages
from jindou.machine.images.making.diff import write_diff
from jindou.machine.images.making.recipes import RECIPES, Recipe
from jindou.machine.images.references import familiar, parse

MARK = "dev.jindou.recipe"
KEEP = "keep"
CREATED = "1970-01-01T00:00:00Z"


def recipe_name(name: str) -> str:
    """The recipe that a name means. Raises ImageError."""
    short = familiar(parse(name).name).removesuffix(":latest")
    if short not in RECIPES:
        known = ", ".join(RECIPES)
        raise ImageError(f"there is no recipe for {name!r}; there are {known}", missing=True)
    return short


def mark_of(recipe: Recipe, below: str, machine: str) -> str:
    """What an image is made of: the same again means that there is nothing to do."""
    parts = orjson.dumps(
        [
            dict(recipe.config), recipe.packages, dict(recipe.accounts), dict(recipe.folders),
            dict(recipe.files), dict(recipe.links), below, machine,
        ],
        option=orjson.OPT_SORT_KEYS,
    )  # fmt: skip
    return hashlib.sha256(parts).hexdigest()


def made_before(contents: Contents, mark: str, name: str) -> Image | None:
    """One that is here with that mark, and of several the one that has the name."""
    marked = [
        i for i in contents.all() if (i.config["config"].get("Labels") or {}).get(MARK) == mark
    ]
    whole = parse(name).name
    return next((image for image in marked if whole in image.names), next(iter(marked), None))


def configure(recipe: Recipe, mark: str, diffs: Sequence[str], how: Sequence[str]) -> bytes:
    """The image configuration, in the form that every tool reads."""
    config: Mapping[str, Any] = {
        "created": CREATED,
        "architecture": manifests.architecture(),
        "os": "linux",
        "config": {**recipe.config, "Labels": {MARK: mark}},
        "rootfs": {"type": "layers", "diff_ids": list(diffs)},
        "history": [
            {"created": CREATED, "created_by": text, "comment": f"jindou {__version__}"}
            for text in how
        ],
    }
    return orjson.dumps(config)


def below_of(contents: Contents, hold: Hold, base: Image) -> list[Taken]:
    """The layers of an image that is here, to build upon."""
    record = contents.take(hold, base.digest)
    diffs = manifests.diff_ids(base.config)
    taken = []
    for digest, diff, chain in zip(record.blobs, diffs, chain_ids(diffs)):
        descriptor = Descriptor("", digest, contents.blobs.size(digest))
        found = known_layer(contents, hold, diff, chain, descriptor)
        if found is None:
            raise ImageError(f"image {base.digest} has lost a layer")
        taken.append(found)
    return taken


async def make(
    contents: Contents, threads: Executor, name: str, force: bool, report: Report
) -> Image:
    """An image of a recipe that stands on packages, and first the image below it."""
    image, fresh = await _make(contents, threads, name, force, report)
    if not fresh:
        report(Progress("here already", 1, 1, name))
    return image


async def _make(
    contents: Contents, threads: Executor, name: str, force: bool, report: Report
) -> tuple[Image, bool]:
    recipe = RECIPES[name]
    suite = packages.host_suite()
    below = None
    if recipe.base:
        below, _ = await _make(contents, threads, recipe.base, False, report)
    made_of = below.digest if below else "\n".join(packages.OPTIONS)
    mark = mark_of(recipe, made_of, "\n".join((suite.name, *suite.sources)))
    if (old := made_before(contents, mark, name)) and not force:
        await in_thread(None, lambda tell: contents.tag(old.digest, name))
        return contents.find(old.digest) or old, False
    work = contents.paths.fresh()
    work.mkdir(mode=0o711)
    hold = ExitStack()
    try:
        if below is None:
            made = work / "base.tar"
            how = [f"mmdebstrap --variant=minbase {suite.name}"]
            await packages.make_base(suite, made, work, report)
        else:
            how = [f"apt-get install {' '.join(recipe.packages)}"]
            record = contents.take(hold.enter_context(contents.holding()), below.digest)
            lower, _ = contents.lower(record)
            made = await packages.add_packages(recipe, lower, work, report)
        image = await in_thread(
            threads, lambda tell: keep(contents, name, mark, below, made, how, tell), report
        )
        return image, True
    finally:
        hold.close()
        await in_thread(None, lambda tell: remove(work))


def keep(
    contents: Contents,
    name: str,
    mark: str,
    below: Image | None,
    made: Path,
    how: Sequence[str],
    report: Report,
) -> Image:
    """`made` is a tar file, or the folder of what changed over `below`. Blocks for seconds."""
    report(Progress(KEEP, 0, 2, name))
    with contents.holding() as hold, ExitStack() as files:
        taken = below_of(contents, hold, below) if below else []
        if below:
            history = [str(step.get("created_by")) for step in below.config.get("history", ())]
            file = files.enter_context(contents.blobs.receive())
            write_diff(made, file)
            file.flush()
            made = Path(file.name)
        else:
            history = []
        report(Progress(KEEP, 1, 2, name))
        taken = [*taken, take_plain(contents, hold, made)]
        image = finish(contents, hold, name, mark, taken, [*history, *how])
        report(Progress(KEEP, 2, 2, name))
        return image


def finish(
    contents: Contents,
    hold: Hold,
    name: str,
    mark: str,
    taken: Sequence[Taken],
    how: Sequence[str],
) -> Image:
    diffs = [one.layer.diff for one in taken]
    config = configure(RECIPES[name], mark, diffs, how)
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    hold.add(digest)
    contents.blobs.put(config)
    layers = [Descriptor(f"{manifests.OCI_LAYER}+gzip", one.digest, one.size) for one in taken]
    manifest = manifests.compose((digest, len(config)), layers)
    return assemble(contents, hold, manifest, manifests.OCI_MANIFEST, taken, [parse(name).name])


def make_busybox(contents: Contents, force: bool, report: Report) -> Image:
    """Blocks for a tenth of a second; to be run in a thread."""
    program = busybox.program()
    report(Progress("read busybox", 0, 3, str(program)))
    machine = hashlib.sha256(program.read_bytes()).hexdigest()
    mark = mark_of(RECIPES["busybox"], "", machine)
    with contents.holding() as hold:
        if (image := made_before(contents, mark, "busybox")) and not force:
            contents.tag(image.digest, "busybox")
            report(Progress("here already", 3, 3))
            return image
        with contents.blobs.receive() as file:
            busybox.write(file)
            file.flush()
            report(Progress("unpack", 1, 3))
            taken = take_plain(contents, hold, Path(file.name))
        report(Progress("keep", 2, 3))
        image = finish(contents, hold, "busybox", mark, [taken], [f"busybox from {program}"])
        report(Progress("keep", 3, 3))
        return image
