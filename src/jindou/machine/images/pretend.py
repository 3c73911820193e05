"""Images of a machine that is only pretended: any name can be had, and nothing is downloaded.

Names say what should happen, so that failures can be shown and tested: a repository or tag that
contains "missing" does not exist, one with "unreachable" has a registry that does not answer, and
one with "private" wants credentials.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any

from jindou.machine.images import Credentials, Image, ImageError, Progress, Report
from jindou.machine.images.content.paths import UNIT
from jindou.machine.images.making.bootstrap import recipe_name
from jindou.machine.images.making.recipes import PATH, RECIPES
from jindou.machine.images.references import familiar, is_digest, parse
from jindou.settings import Settings

SIZE = 4 << 20


class PretendImages:
    """An image is its name: the digest is that of the name, and a root is an empty folder."""

    def __init__(
        self, settings: Settings, configs: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """`configs`: what is inside the images of these names, beyond the usual."""
        self._units_folder = Path(settings.data).absolute() / "units"
        self._configs = {parse(name).name: dict(inner) for name, inner in (configs or {}).items()}
        self._images: dict[str, Image] = {}
        self._names: dict[str, str] = {}
        self._units: dict[str, str] = {}
        self.pulled: list[str] = []  # every name that a registry would have been asked for

    @property
    def units(self) -> Mapping[str, str]:
        return self._units

    @property
    def problems(self) -> list[str]:
        return []

    async def close(self) -> None:
        for unit in [*self._units]:
            await self.unmount(unit)

    async def verify(self) -> list[str]:
        return []

    def find(self, reference: str) -> Image | None:
        digest = self._resolve(reference)
        return self._with_names(digest) if digest else None

    def _resolve(self, reference: str) -> str | None:
        if is_digest(reference):
            return reference if reference in self._images else None
        parsed = parse(reference)
        if found := self._names.get(parsed.name):
            return found
        return parsed.digest if parsed.digest in self._images else None

    def _with_names(self, digest: str) -> Image:
        image = self._images[digest]
        names = tuple(sorted(name for name, of in self._names.items() if of == digest))
        return Image(digest, names, image.config, image.size)

    def all(self) -> list[Image]:
        return [self._with_names(digest) for digest in self._images]

    async def pull(
        self,
        reference: str,
        credentials: Collection[Credentials] = (),
        report: Report | None = None,
    ) -> Image:
        if is_digest(reference):
            if image := self.find(reference):
                return image
            raise ImageError(f"{reference} names no registry to get it from", missing=True)
        parsed = parse(reference)
        self.pulled.append(parsed.name)
        for part in range(3):
            if report:
                report(Progress("fetch", part * SIZE // 2, SIZE))
            await asyncio.sleep(0)
        if "missing" in parsed.name:
            raise ImageError(
                f"{parsed.name} does not exist in registry {parsed.registry}", missing=True
            )
        if "unreachable" in parsed.name:
            raise ImageError(
                f"registry {parsed.registry} can't be reached: it does not answer", unreachable=True
            )
        if "private" in parsed.name and not credentials:
            raise ImageError(
                f"registry {parsed.registry} gives no access to {parsed.repository}: it does not "
                "exist there, or needs other credentials"
            )
        return self._add(parsed.name, parsed.digest)

    def _add(self, name: str, digest: str = "") -> Image:
        short = familiar(name).removesuffix(":latest")
        recipe = RECIPES.get(short)
        inner = dict(recipe.config) if recipe else {"Env": [PATH], "Cmd": ["sh"]}
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {**inner, **self._configs.get(name, {})},
            "rootfs": {"type": "layers", "diff_ids": []},
        }
        digest = digest or f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
        self._images[digest] = Image(digest, (), config, SIZE)
        self._names[name] = digest
        return self._with_names(digest)

    async def bootstrap(self, name: str, force: bool = False) -> AsyncIterator[Progress]:
        whole = parse(recipe_name(name)).name
        for done in range(3):
            yield Progress("pretend", done, 2, familiar(whole))
        self._add(whole)

    async def load(self, path: Path) -> AsyncIterator[Progress]:
        """A pretended archive holds names, one a line; a real one counts as an image of its name."""
        if not path.is_file():
            raise ImageError(f"{path} can't be read: there is no such file")
        try:
            names = [parse(line).name for line in path.read_text().split()]
        except (UnicodeDecodeError, ImageError):
            names = [parse(path.name.partition(".")[0].lower()).name]
        for done, name in enumerate(names):
            yield Progress("unpack", done, len(names), name)
            self._add(name)

    async def save(self, reference: str, path: Path, form: str = "oci") -> AsyncIterator[Progress]:
        if form not in ("oci", "docker"):
            raise ImageError(f"{form!r} is not a form of archive: there are oci and docker")
        image = self._known(reference)
        yield Progress("write", 0, 1)
        path.write_text("\n".join(image.names) + "\n")

    def _known(self, reference: str) -> Image:
        image = self.find(reference)
        if image is None:
            raise ImageError(f"there is no image {reference!r} here", missing=True)
        return image

    async def mount(self, digest: str, unit: str) -> Path:
        image = self.find(digest)
        if image is None:
            raise ImageError(f"image {digest} is not here", missing=True)
        root = self._folder(unit) / "root"
        if self._units.get(unit) != image.digest:
            shutil.rmtree(root.parent, ignore_errors=True)
        root.mkdir(parents=True, exist_ok=True)
        self._units[unit] = image.digest
        return root

    async def unmount(self, unit: str) -> None:
        shutil.rmtree(self._folder(unit), ignore_errors=True)
        self._units.pop(unit, None)

    async def usage(self, unit: str) -> int:
        root = self._folder(unit) / "root"
        return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())

    def _folder(self, unit: str) -> Path:
        if not UNIT.fullmatch(unit):
            raise ImageError(f"{unit[:100]!r} is not the name of a unit")
        return self._units_folder / unit

    async def tag(self, reference: str, name: str) -> None:
        self._names[parse(name).name] = self._known(reference).digest

    async def delete(self, reference: str) -> None:
        digest = self._known(reference).digest
        whole = "" if is_digest(reference) else parse(reference).name
        if whole in self._names:
            del self._names[whole]
        else:
            self._names = {name: of for name, of in self._names.items() if of != digest}
        if digest not in {*self._names.values(), *self._units.values()}:
            del self._images[digest]

    async def collect(self, in_use: Collection[str]) -> int:
        needed = {*self._names.values(), *self._units.values()}
        needed |= {digest for one in in_use if (digest := self._resolve(one))}
        gone = [digest for digest in self._images if digest not in needed]
        for digest in gone:
            del self._images[digest]
        return SIZE * len(gone)
