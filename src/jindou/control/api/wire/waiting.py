"""Reads that name a revision which is not reached yet: they wait for it a little, then are refused.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jindou.control.api.engine.lists import too_new
from jindou.control.store import Change, Store

LONGEST = 3.0  # seconds


async def reached(store: Store, revision: int, seconds: float = LONGEST) -> None:
    """Returns once readers see the revision; raises Timeout."""
    if store.revision >= revision:
        return
    come = asyncio.get_running_loop().create_future()

    def look(changes: Sequence[Change]) -> None:
        if changes[-1].revision >= revision and not come.done():
            come.set_result(None)

    stop = store.watch("", store.revision, look)
    try:
        async with asyncio.timeout(seconds):
            await come
    except TimeoutError:
        raise too_new(revision, store.revision) from None
    finally:
        stop()
