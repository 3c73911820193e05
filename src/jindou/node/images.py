"""The images of containers: pulled by policy, with the Pod's credentials, backing off after failures.

An image that is here serves where its registry can't be asked, so a machine without the internet
goes on working. What is in use is never removed; when the disk is nearly full, what was used
longest ago goes first.
Source: https://kubernetes.io/docs/concepts/containers/images/
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Callable, Collection
from typing import Literal, NamedTuple, Protocol

from jindou.machine.images import Credentials, Image, ImageError, Images
from jindou.machine.images.references import is_digest, parse
from jindou.node.backoff import BackOff
from jindou.node.clock import Clock
from jindou.node.pull_secrets import credentials_for
from jindou.node.references import References
from jindou.objects.errors import CloudError
from jindou.objects.kinds import SECRET, Object

log = logging.getLogger("jindou.images")

UNREACHABLE = 30.0  # seconds for which a registry that can't be reached isn't asked again
HIGH, LOW = 0.85, 0.80  # parts of the disk: collecting begins, and ends
YOUNG = 120.0  # seconds since its last use for which an image is never collected
MOST_BACKOFFS = 1000


class RecordEvent(Protocol):
    def __call__(
        self,
        pod: Object,
        type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        container: str = "",
    ) -> None: ...


class PullError(Exception):
    """`reason` is what the container waits with; the next try makes sense in `retry_after` s."""

    def __init__(self, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class Failure(NamedTuple):
    backoff: BackOff
    message: str
    failed: float


def disk_use(folder: str) -> float:
    """Part of the disk that is in use, as df(1) counts it."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0.0
    used = status.f_blocks - status.f_bfree
    return used / max(used + status.f_bavail, 1)


class Puller:
    def __init__(
        self,
        images: Images,
        references: References,
        record_event: RecordEvent,
        *,
        in_use: Callable[[], Collection[str]] = tuple,
        folder: str = "/",
        disk_use: Callable[[str], float] = disk_use,
        clock: Clock | None = None,
    ) -> None:
        """`in_use` tells the digests that containers have; `folder` is on the images' disk."""
        self.images = images
        self.clock = clock or Clock()
        self._references = references
        self._record = record_event
        self._in_use = in_use
        self._disk_use = functools.partial(disk_use, folder)
        self._pulls: dict[tuple[str, frozenset[Credentials]], asyncio.Task[Image]] = {}
        self._failures: dict[tuple[str, str], Failure] = {}
        self._silent: dict[str, float] = {}  # registry -> until when it isn't asked
        self._used: dict[str, float] = {}  # digest -> last use
        self._collecting: asyncio.Task[int] | None = None

    async def ensure(self, pod: Object, container: Object) -> Image:
        """The image of a container, here and whole. Raises PullError."""
        name = container["image"]
        try:
            local = self.images.find(name)
            policy = container.get("imagePullPolicy") or default_policy(name)
            registry = "" if is_digest(name) else parse(name).registry
        except ImageError as error:
            raise self._invalid(pod, container, error) from error
        if local is not None and policy != "Always":
            return self._present(pod, container, local)
        if policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            self._record(pod, "Warning", "ErrImageNeverPull", message, container["name"])
            raise PullError("ErrImageNeverPull", message, 10.0)
        if local is not None and self._silent.get(registry, 0.0) > self.clock.now():
            return self._present(pod, container, local, f"{registry} can't be reached")
        self._check_backoff(pod, container)
        return await self._pull(pod, container, local, registry)

    def _present(self, pod: Object, container: Object, image: Image, why: str = "") -> Image:
        self._used[image.digest] = self.clock.now()
        says = f'Container image "{container["image"]}" already present on machine'
        text = f"{says}, and {why}" if why else says
        self._record(pod, "Normal", "Pulled", text, container["name"])
        return image

    def _invalid(self, pod: Object, container: Object, error: ImageError) -> PullError:
        message = (
            f'Failed to apply default image tag "{container["image"]}": couldn\'t parse image '
            f'name "{container["image"]}": invalid reference format: {error}'
        )
        self._record(pod, "Warning", "InspectFailed", message, container["name"])
        return PullError("InvalidImageName", message, 10.0)

    def _check_backoff(self, pod: Object, container: Object) -> None:
        name = container["image"]
        failure = self._failures.get((pod["metadata"]["uid"], name))
        if failure is None:
            return
        wait = failure.failed + failure.backoff.delay - self.clock.now()
        if wait > 0:
            self._record(
                pod, "Normal", "BackOff", f'Back-off pulling image "{name}"', container["name"]
            )
            message = f'Back-off pulling image "{name}": ErrImagePull: {failure.message}'
            raise PullError("ImagePullBackOff", message, wait)

    async def _pull(
        self, pod: Object, container: Object, local: Image | None, registry: str
    ) -> Image:
        name, own = container["image"], container["name"]
        key = (pod["metadata"]["uid"], name)
        self._record(pod, "Normal", "Pulling", f'Pulling image "{name}"', own)
        credentials = await self._credentials(pod, container)
        start = self.clock.now()
        try:
            image = await self._together(name, credentials)
        except ImageError as error:
            if local is not None and error.unreachable:
                self._silent[registry] = self.clock.now() + UNREACHABLE
                return self._present(pod, container, local, str(error))
            raise self._failed(key, pod, own, name, str(error)) from error
        except OSError as error:
            raise self._failed(key, pod, own, name, str(error)) from error
        self._failures.pop(key, None)
        self._silent.pop(registry, None)
        self._used[image.digest] = self.clock.now()
        took = _duration(self.clock.now() - start)
        text = f'Successfully pulled image "{name}" in {took} ({took} including waiting). Image size: {image.size} bytes.'
        self._record(pod, "Normal", "Pulled", text, own)
        self.collect_soon()
        return image

    def _failed(
        self, key: tuple[str, str], pod: Object, container: str, name: str, why: str
    ) -> PullError:
        message = f'failed to pull and unpack image "{name}": {why}'
        now = self.clock.now()
        before = self._failures.get(key)
        backoff = before.backoff if before else BackOff()
        delay = backoff.tried(before.failed if before else now, now)
        if len(self._failures) >= MOST_BACKOFFS:
            self._failures.pop(next(iter(self._failures)))
        self._failures[key] = Failure(backoff, message, now)
        self._record(pod, "Warning", "Failed", f'Failed to pull image "{name}": {why}', container)
        self._record(pod, "Warning", "Failed", "Error: ErrImagePull", container)
        return PullError("ErrImagePull", message, delay)

    async def _together(self, name: str, credentials: frozenset[Credentials]) -> Image:
        """One pull for all that ask for the same at the same time; it goes on if one of them leaves."""
        key = (name, credentials)
        pull = self._pulls.get(key)
        if pull is None:
            pull = asyncio.create_task(self.images.pull(name, credentials), name=f"pull {name}")
            self._pulls[key] = pull
            pull.add_done_callback(lambda done: self._pulled(key, done))
        return await asyncio.shield(pull)

    def _pulled(self, key: tuple[str, frozenset[Credentials]], pull: asyncio.Task[Image]) -> None:
        self._pulls.pop(key, None)
        if not pull.cancelled():
            pull.exception()  # those who wait have it; nobody may

    async def _credentials(self, pod: Object, container: Object) -> frozenset[Credentials]:
        found: list[Credentials] = []
        namespace = pod["metadata"]["namespace"]
        absent = []
        for reference in pod["spec"].get("imagePullSecrets") or ():
            name = reference.get("name", "")
            try:
                secret = await self._references.get(SECRET, namespace, name)
            except CloudError as error:
                log.info("pull secret %s/%s: %s", namespace, name, error)
                secret = None
            if secret is None:
                absent.append(name)
            else:
                found += credentials_for(secret, container["image"])
        if absent:
            text = f"Unable to retrieve some image pull secrets ({', '.join(absent)}); attempting to pull the image may not succeed."
            self._record(pod, "Warning", "FailedToRetrieveImagePullSecret", text)
        return frozenset(found)

    # ------------------------------------------------------------ collecting

    def collect_soon(self) -> None:
        """Look at the disk, and collect in the background where it is nearly full."""
        idle = self._collecting is None or self._collecting.done()
        if idle and self._disk_use() >= HIGH:
            self._collecting = asyncio.create_task(self.collect(), name="collecting images")

    async def collect(self) -> int:
        """Remove images until the disk is less full; returns the bytes freed."""
        freed = await self.images.collect(self._in_use())
        now = self.clock.now()
        for image in sorted(self.images.all(), key=lambda image: self._used.get(image.digest, 0.0)):
            if self._disk_use() < LOW:
                break
            if image.digest in self._in_use():
                continue
            if now - self._used.get(image.digest, float("-inf")) < YOUNG:
                continue
            try:
                for name in image.names:
                    await self.images.delete(name)
                freed += await self.images.collect(self._in_use())
            except ImageError as error:
                log.info("image %s stays: %s", image.digest, error)
        return freed

    async def close(self) -> None:
        tasks: list[asyncio.Task[Image] | asyncio.Task[int]] = [*self._pulls.values()]
        if self._collecting is not None:
            tasks.append(self._collecting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def default_policy(name: str) -> str:
    """Always for `latest`, said or understood; else what is here will do."""
    if is_digest(name):
        return "IfNotPresent"
    reference = parse(name)
    latest = not reference.digest and reference.tag == "latest"
    return "Always" if latest else "IfNotPresent"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.3f}s"
