"""Images over the node's endpoint: list, delete, and the long jobs, which tell their progress.

A job's answer is one JSON object a line; the last one holds `image` or `error`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson

from jindou.machine.images import Image, ImageError, Images, Progress
from jindou.node.endpoint.replies import JSON, flag, streamed
from jindou.objects.errors import BadRequest, Conflict, MethodNotAllowed, NotFound
from jindou.transport import Answer, Request, Response


class ImageRoutes:
    def __init__(self, images: Images, changed: Callable[[], None]) -> None:
        self._images = images
        self._changed = changed

    async def answer(self, request: Request, rest: list[str]) -> Answer:
        if not rest:
            if request.method == "GET":
                return self._list()
            if request.method == "DELETE":
                return await self._delete(asked(request, "name"))
        if request.method != "POST" and rest in (["bootstrap"], ["import"], ["export"]):
            raise MethodNotAllowed("405: Method Not Allowed")
        if rest == ["bootstrap"]:
            force = flag(request.query, "force")
            name = asked(request, "name")
            return self._job(self._images.bootstrap(name, force), name)
        if rest == ["import"]:
            return self._job(self._images.load(path_of(request)), "")
        if rest == ["export"]:
            name = asked(request, "name")
            form = request.query.get("format", ["oci"])[-1] or "oci"
            if form not in ("oci", "docker"):
                raise BadRequest(f"the format of an archive is oci or docker, not {form}")
            return self._job(self._images.save(name, path_of(request), form), name)
        raise NotFound("404 page not found")

    def _list(self) -> Answer:
        held = sorted((shown(image) for image in self._images.all()), key=lambda one: one["names"])
        return Response(200, orjson.dumps({"images": held}), JSON)

    async def _delete(self, name: str) -> Answer:
        try:
            await self._images.delete(name)
        except ImageError as error:
            raise (NotFound if error.missing else Conflict)(str(error)) from error
        self._changed()
        return Response(200, orjson.dumps({"deleted": name}), JSON)

    def _job(self, job: AsyncIterator[Progress], name: str) -> Answer:
        return streamed(self._lines(job, name), "application/json")

    async def _lines(self, job: AsyncIterator[Progress], name: str) -> AsyncGenerator[bytes, None]:
        """An import has no name beforehand: the last step's detail is what it brought."""
        try:
            async for progress in job:
                yield line(progress._asdict())
                if progress.detail and not name:
                    found = self._find(progress.detail)
                    name = progress.detail if found else name
            image = self._find(name) if name else None
            yield line({"image": shown(image) if image else {"names": [], "size": 0}})
        except (ImageError, OSError) as error:
            yield line({"error": str(error)})
        finally:
            if isinstance(job, AsyncGenerator):
                await job.aclose()
            self._changed()

    def _find(self, name: str) -> Image | None:
        try:
            return self._images.find(name)
        except ImageError:
            return None


def shown(image: Image) -> dict[str, Any]:
    return {"names": list(image.names), "digest": image.digest, "size": image.size}


def line(value: Any) -> bytes:
    return orjson.dumps(value) + b"\n"


def asked(request: Request, name: str) -> str:
    value = request.query.get(name, [""])[-1]
    if not value:
        raise BadRequest(f'query parameter "{name}" is required')
    return value


def path_of(request: Request) -> Path:
    path = Path(asked(request, "path"))
    if not path.is_absolute():
        raise BadRequest(f"{path} is not an absolute path")
    return path
