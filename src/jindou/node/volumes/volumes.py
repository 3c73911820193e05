"""The volumes of Pods: made before the containers start, kept true while they run, gone with them.

    RUN/pods/UID/volumes/NAME     files from objects, tokens, memory: gone at a reboot
    RUN/pods/UID/subpaths/...     pinned places inside of volumes
    DATA/pods/UID/volumes/NAME    emptyDir on disk

`prepare` may be repeated at any time, also by a process that has just started. Files from objects
follow their objects; tokens are renewed when four fifths of their life have passed.
Source: https://kubernetes.io/docs/concepts/storage/volumes/
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jindou.client import Client
from jindou.machine.runtimes import Mount
from jindou.machine.volumes import File, VolumesError
from jindou.machine.volumes import Volumes as Driver
from jindou.node.images import Puller, PullError
from jindou.node.references import References, Token
from jindou.node.volumes import payloads
from jindou.node.volumes.mounts import MountRefused, check_propagation, plan_mount, plan_subpath
from jindou.node.volumes.sources import Refused, check_host_path, volume_of_claim
from jindou.node.volumes.storage import ephemeral_excess, limited, memory_size
from jindou.objects.errors import CloudError
from jindou.objects.kinds import Object, Ref
from jindou.settings import Settings

log = logging.getLogger("jindou.volumes")

RENEW = 0.8  # of a token's life
LONGEST = 24 * 3600.0  # seconds between renewals, whatever a token's life
LOOK = 60.0  # seconds between looks at the clock while there are tokens


class VolumeError(Exception):
    """Why a Pod's volumes are not ready (FailedMount); the kubelet's words."""


class Prepared:
    """One Pod's volumes as they are."""

    def __init__(self, pod: Object) -> None:
        self.pod = pod
        self.shown = shown_of(pod)
        self.paths: dict[str, Path] = {}
        self.read_only: set[str] = set()
        self.tokens: dict[tuple[str, payloads.TokenWish], Token] = {}
        self.due: dict[tuple[str, payloads.TokenWish], float] = {}  # Unix seconds: renew then
        self.images: set[str] = set()  # mounted for volumes, by unit


class Volumes:
    def __init__(
        self,
        settings: Settings,
        driver: Driver,
        references: References,
        client: Client,
        *,
        puller: Puller | None = None,
        allocatable: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._run = Path(settings.run) / "pods"
        self._data = Path(settings.data) / "pods"
        self._driver = driver
        self._references = references
        self._client = client
        self._puller = puller
        self._allocatable = allocatable
        self._pods: dict[str, Prepared] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        references.on_change(self._object_changed)

    # ------------------------------------------------------------ the Pod's life

    async def prepare(self, pod: Object) -> Mapping[str, Path]:
        """Make every volume that a container mounts; host paths by volume name.
        Raises VolumeError; what was made stays for the next try, until `release`."""
        uid = pod["metadata"]["uid"]
        for folder in (self._run, self._data):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_mode & 0o077:
                folder.chmod(0o700)  # what Pods keep is nobody else's to read
        held = self._pods.setdefault(uid, Prepared(pod))
        held.pod, held.shown = pod, shown_of(pod)
        wanted = mounted_names(pod)
        volumes = [v for v in pod["spec"].get("volumes") or () if v["name"] in wanted]
        for volume in volumes:
            for reference in payloads.references(volume):
                namespace = pod["metadata"]["namespace"]
                self._references.hold(uid, reference.kind, namespace, reference.name)
        results = await asyncio.gather(
            *(self._prepare(held, volume) for volume in volumes), return_exceptions=True
        )
        for volume, result in zip(volumes, results, strict=True):
            if isinstance(result, BaseException):
                raise _worded(volume["name"], result)
            held.paths[volume["name"]] = result
        return dict(held.paths)

    def update(self, pod: Object) -> None:
        """The Pod's labels or annotations may have changed: so may files that show them."""
        held = self._pods.get(pod["metadata"]["uid"])
        if held is None:
            return
        held.pod = pod
        if held.shown != (shown := shown_of(pod)):
            held.shown = shown
            self._republish(held, payloads.uses_fields)

    async def release(self, uid: str) -> None:
        """Unmount and delete all that the Pod had. Its containers have ended."""
        held = self._pods.pop(uid, None)
        self._references.release(uid)
        for unit in held.images if held is not None else ():
            if self._puller is not None:
                await self._puller.images.unmount(unit)
        for part in (self._run / uid / "subpaths", self._run / uid / "volumes", self._data / uid / "volumes"):  # fmt: skip
            if part.exists():
                await self._driver.remove(part)
            try:
                part.parent.rmdir()
            except OSError:
                pass  # it is not there, or others keep something in it

    async def close(self) -> None:
        """Stop following; volumes stay as they are."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------ containers

    def mounts(
        self,
        pod: Object,
        container: Object,
        paths: Mapping[str, Path],
        env: Sequence[tuple[str, str]] = (),
    ) -> list[Mount]:
        """The container's volume mounts; `env` is its environment, for subPathExpr."""
        uid = pod["metadata"]["uid"]
        held = self._pods.get(uid)
        found = []
        for number, wish in enumerate(container.get("volumeMounts") or ()):
            name = wish["name"]
            source = paths.get(name)
            if source is None:
                raise VolumeError(
                    f'cannot find volume "{name}" to mount into container "{container["name"]}"'
                )
            check_propagation(wish, source)
            try:
                if below := plan_subpath(wish, dict(env)):
                    place = self._run / uid / "subpaths" / name / container["name"] / str(number)
                    mode = source.stat().st_mode & 0o7777
                    source = self._driver.bind_below(source, below, place, mode)
                found.append(plan_mount(wish, source, held is not None and name in held.read_only))
            except (MountRefused, VolumesError, OSError) as error:
                raise VolumeError(
                    f'failed to prepare subPath for volumeMount "{name}" of container "{container["name"]}": {error}'
                ) from error
        return found

    # ------------------------------------------------------------ storage in use

    async def usage(self, pod: Object) -> dict[str, int]:
        """Bytes in each volume that is the Pod's own (emptyDir and files from objects)."""
        uid = pod["metadata"]["uid"]
        found = {}
        for volume in pod["spec"].get("volumes") or ():
            for base in (self._data, self._run):
                path = base / uid / "volumes" / volume["name"]
                if path.exists():
                    found[volume["name"]] = await self._driver.usage(path)
        return found

    async def over_limit(self, pod: Object, layers: Mapping[str, int]) -> str:
        """Why the Pod has to go (Evicted), in the kubelet's words; "" when it keeps its limits.
        `layers` has the bytes of each container: its writable layer and its logs."""
        return ephemeral_excess(pod, layers, await self.usage(pod)) if limited(pod) else ""

    # ------------------------------------------------------------ one volume

    async def _prepare(self, held: Prepared, volume: Object) -> Path:
        uid, name = held.pod["metadata"]["uid"], volume["name"]
        if any(volume.get(plugin) for plugin in payloads.PLUGINS):
            held.read_only.add(name)
            return await self._publish(held, volume)
        if "emptyDir" in volume:
            return await self._empty(held.pod, volume)
        if volume.get("hostPath"):
            wish = volume["hostPath"]
            return check_host_path(wish["path"], wish.get("type") or "")
        if volume.get("persistentVolumeClaim") or volume.get("ephemeral"):
            return await self._claimed(held, volume)
        if volume.get("image") and self._puller is not None:
            image = await self._puller.ensure(held.pod, {"image": volume["image"]["reference"], "imagePullPolicy": volume["image"].get("pullPolicy"), "name": name})  # fmt: skip
            unit = f"{uid}-volume-{name}"
            root = await self._puller.images.mount(image.digest, unit)
            held.images.add(unit)
            held.read_only.add(name)
            return root
        raise Refused("no volume plugin matched")

    async def _empty(self, pod: Object, volume: Object) -> Path:
        wish, uid = volume["emptyDir"] or {}, pod["metadata"]["uid"]
        medium = wish.get("medium") or ""
        if medium == "Memory":
            path: Path = self._run / uid / "volumes" / volume["name"]
            self._driver.tmpfs(path, memory_size(pod, wish.get("sizeLimit")))
        elif medium == "":
            path = self._data / uid / "volumes" / volume["name"]
            fresh = not path.exists()
            self._driver.folder(path, 0o777)
            await self._own(pod, path, always=fresh)
            return path
        else:
            raise Refused(f'unknown storage medium "{medium}"')
        await self._own(pod, path)
        return path

    async def _claimed(self, held: Prepared, volume: Object) -> Path:
        pod = held.pod
        wish = volume.get("persistentVolumeClaim") or {
            "claimName": f"{pod['metadata']['name']}-{volume['name']}"
        }
        found = await volume_of_claim(self._client, pod, wish["claimName"])
        if wish.get("readOnly"):
            held.read_only.add(volume["name"])
        if found.ours:
            self._driver.folder(Path(found.path).parent, 0o700)
            self._driver.folder(Path(found.path), 0o777)
        path = check_host_path(found.path, found.type)
        if found.group:
            await self._own(pod, path)
        return path

    async def _own(self, pod: Object, path: Path, always: bool = True) -> None:
        context = pod["spec"].get("securityContext") or {}
        if (gid := context.get("fsGroup")) is not None:
            always = always and context.get("fsGroupChangePolicy") != "OnRootMismatch"
            await self._driver.own(path, gid, always=always)

    # ------------------------------------------------------------ files from objects

    async def _publish(self, held: Prepared, volume: Object) -> Path:
        files: dict[str, File] = {}
        mode = payloads.default_mode(volume)
        namespace = held.pod["metadata"]["namespace"]
        for plugin, source in payloads.sources(volume):
            if reference := payloads.reference(plugin, source):
                obj = await self._references.get(reference.kind, namespace, reference.name)
                files |= payloads.object_files(reference, obj, mode)
            elif plugin == "downwardAPI":
                files |= payloads.field_files(source, held.pod, mode, self._allocatable())
            elif plugin == "serviceAccountToken":
                files |= await self._token_file(held, volume["name"], source, mode)
            else:
                raise Refused(f"a projected {plugin} is not known to this node")
        uid = held.pod["metadata"]["uid"]
        if self._pods.get(uid) is not held:
            raise Refused("the Pod is gone")
        path: Path = self._run / uid / "volumes" / volume["name"]
        gid = (held.pod["spec"].get("securityContext") or {}).get("fsGroup")
        self._driver.publish(path, files, gid)
        return path

    async def _token_file(
        self, held: Prepared, volume: str, source: Object, mode: int
    ) -> dict[str, File]:
        wish = payloads.token_wish(source)
        key = (volume, wish)
        token = held.tokens.get(key)
        now = time.time()
        if token is None or token.expires <= now:
            token = await self._references.token(held.pod, wish.audience, wish.seconds)
            held.tokens[key] = token
            life = min((token.expires - now) * RENEW, LONGEST) * random.uniform(0.95, 1.0)
            self._renew_at(held, key, now + max(life, 1.0))
        uid = common_user(held.pod)
        gid = (held.pod["spec"].get("securityContext") or {}).get("fsGroup")
        chosen = 0o600 if uid is not None or gid is not None else mode
        return {wish.path: File(token.text.encode(), chosen, uid)}

    # One timer for all, by the wall clock: a machine that slept finds its tokens due at once.

    def _renew_at(self, held: Prepared, key: tuple[str, payloads.TokenWish], when: float) -> None:
        held.due[key] = when
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        times = [when for held in self._pods.values() for when in held.due.values()]
        if times:
            wait = min(max(min(times) - time.time(), 0.0), LOOK)
            self._timer = asyncio.get_running_loop().call_later(wait, self._renew_due)

    def _renew_due(self) -> None:
        self._timer = None
        now = time.time()
        for held in self._pods.values():
            for key in [key for key, when in held.due.items() if when <= now]:
                del held.due[key]
                self._start(self._renew(held, key), "renewing a token")
        self._set_timer()

    async def _renew(self, held: Prepared, key: tuple[str, payloads.TokenWish]) -> None:
        old = held.tokens.pop(key, None)
        volume = next(v for v in held.pod["spec"]["volumes"] if v["name"] == key[0])
        try:
            await self._publish(held, volume)
        except (CloudError, ValueError, Refused, OSError) as error:
            log.warning("the token of volume %s could not be renewed: %s", key[0], error)
            if old is not None:
                held.tokens.setdefault(key, old)
            self._renew_at(held, key, time.time() + random.uniform(5, 15))

    # ------------------------------------------------------------ following

    def _object_changed(self, ref: Ref, obj: Object | None) -> None:
        def shows(volume: Object) -> bool:
            return any(
                (held.kind, held.name) == (ref.kind, ref.name)
                for held in payloads.references(volume)
            )

        for uid in self._references.users(ref):
            if held := self._pods.get(uid):
                self._republish(held, shows)

    def _republish(self, held: Prepared, which: Callable[[Object], bool]) -> None:
        for volume in held.pod["spec"].get("volumes") or ():
            if volume["name"] in held.paths and which(volume):
                self._start(self._again(held, volume), f"updating volume {volume['name']}")

    async def _again(self, held: Prepared, volume: Object) -> None:
        """What can't be made any more (the object is gone) leaves the files as they were."""
        try:
            if self._pods.get(held.pod["metadata"]["uid"]) is held:
                await self._publish(held, volume)
        except (CloudError, ValueError, Refused, VolumesError, OSError) as error:
            log.info("volume %s keeps its files: %s", volume["name"], error)

    def _start(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def shown_of(pod: Object) -> list[dict[str, str]]:
    """What of a Pod can change and be shown in files."""
    return [dict(pod["metadata"].get(part) or {}) for part in ("labels", "annotations")]


def mounted_names(pod: Object) -> set[str]:
    """The volumes that some container mounts: the others are never made."""
    spec = pod["spec"]
    return {
        mount["name"]
        for part in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(part) or ()
        for mount in container.get("volumeMounts") or ()
    }


def common_user(pod: Object) -> int | None:
    """The user of all containers where they have the same one: it owns the Pod's tokens."""
    spec = pod["spec"]
    default = (spec.get("securityContext") or {}).get("runAsUser")
    users = {
        (container.get("securityContext") or {}).get("runAsUser", default)
        for part in ("initContainers", "containers")
        for container in spec.get(part) or ()
    }
    return users.pop() if len(users) == 1 else None


def _worded(name: str, error: BaseException) -> BaseException:
    if isinstance(error, (Refused, CloudError, ValueError, VolumesError, PullError, OSError)):
        if isinstance(error, Refused) and error.whole:
            return VolumeError(str(error))
        return VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}')
    return error
