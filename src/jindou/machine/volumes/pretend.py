"""Volumes without root: real folders and files, no mounts and no owners."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from jindou.machine.volumes import File, VolumesError, publishing


class PretendVolumes:
    def folder(self, path: Path, mode: int = 0o755) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def tmpfs(self, path: Path, size: int = 0) -> None:
        self.folder(path)

    def publish(self, path: Path, files: Mapping[str, File], gid: int | None = None) -> bool:
        return publishing.publish(path, {k: File(f.data, f.mode) for k, f in files.items()})

    def bind_below(self, base: Path, below: str, target: Path, mode: int = 0o750) -> Path:
        place = (base / below).resolve()
        if not place.is_relative_to(base.resolve()):
            raise VolumesError(f"subPath {below!r}: leaves the volume")
        if not place.exists():
            place.mkdir(parents=True)
        return place

    async def own(self, path: Path, gid: int, *, always: bool = True) -> None:
        pass

    async def usage(self, path: Path) -> int:
        total = 0
        for folder, _, names in os.walk(path):
            total += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
        return total

    async def exceeds(self, path: Path, limit: int) -> bool:
        return await self.usage(path) > limit

    async def remove(self, path: Path) -> None:
        await asyncio.to_thread(shutil.rmtree, path, True)
