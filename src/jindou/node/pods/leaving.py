"""The last steps of a Pod: its place on the machine is given back, its object removed from the API.

Both are tried until they work; a Pod that half stays would hold an address for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from jindou.client.retry import Backoff
from jindou.machine.images import ImageError
from jindou.machine.network import NetworkError
from jindou.machine.volumes import VolumesError
from jindou.node.events import pod_ref
from jindou.node.pods.sandbox import release_sandbox
from jindou.node.state.parts import Parts
from jindou.objects.errors import CloudError, Conflict, NotFound
from jindou.objects.kinds import Object

log = logging.getLogger("jindou.pods")


async def give_back(pod: Object, parts: Parts, units: Collection[str] = ()) -> None:
    """`units`: those of which a root may be left that nobody else cleans up."""
    backoff = Backoff(0.5, 30.0)
    while True:
        try:
            for unit in units:
                await parts.images.unmount(unit)
            return await release_sandbox(pod["metadata"]["uid"], parts)
        except (OSError, ImageError, NetworkError, VolumesError) as error:
            log.warning("%s could not be released: %s", pod_ref(pod), error)
            await parts.clock.sleep(backoff.delay())


async def remove_object(pod: Object, parts: Parts, gone: Callable[[], bool]) -> None:
    ref, uid = pod_ref(pod), pod["metadata"]["uid"]
    backoff = Backoff(0.2, 10.0)
    while not gone():
        try:
            return await parts.client.delete(ref, grace=0, uid=uid)
        except (NotFound, Conflict):
            return
        except (CloudError, OSError) as error:
            log.info("%s could not be removed: %s", ref, error)
            await parts.clock.sleep(backoff.delay())
