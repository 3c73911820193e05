"""Following the objects that Pods use, through every failure of the API."""

from __future__ import annotations

import asyncio

import pytest

from jindou.client import Event, Listing
from jindou.node.references import References
from jindou.objects.errors import Expired, Forbidden, NotFound, Unavailable
from jindou.objects.kinds import CONFIG_MAP, Ref
from tests.node.machine import turns

REF = Ref(CONFIG_MAP, "default", "c")


def config(revision: int, **data):
    meta = {"name": "c", "namespace": "default", "resourceVersion": str(revision)}
    return {"metadata": meta, "data": data}


class Script:
    """A client whose every answer the test has written."""

    def __init__(self):
        self.listings = []
        self.begun: asyncio.Queue = asyncio.Queue()  # of watches: put events there
        self.asked = []
        self.object = None

    async def find(self, kind, namespace="", *, labels="", fields=""):
        self.asked.append(("find", fields))
        answer = self.listings.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def watch(self, kind, namespace="", *, labels="", fields="", after=""):
        self.asked.append(("watch", after))
        queue = asyncio.Queue()
        self.begun.put_nowait(queue)
        while True:
            event = await queue.get()
            if isinstance(event, Exception):
                raise event
            yield event

    async def get(self, ref):
        self.asked.append(("get", ref.name))
        if self.object is None:
            raise NotFound("no")
        return self.object


def on_script(test):
    def run():
        async def main():
            client = Script()
            references = References(client)
            seen = []
            references.on_change(lambda ref, obj: seen.append(obj and obj["data"]))
            try:
                await asyncio.wait_for(test(client, references, seen), 10)
            finally:
                await references.close()

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


@on_script
async def test_one_watch_serves_all_that_hold_and_ends_with_the_last(client, references, seen):
    client.listings = [Listing([config(5, a="1")], "7")]
    references.hold("pod-1", *REF)
    references.hold("pod-2", *REF)
    assert (await references.get(*REF))["data"] == {"a": "1"}
    watch = await client.begun.get()
    assert client.asked == [("find", "metadata.name=c"), ("watch", "7")]
    assert references.users(REF) == {"pod-1", "pod-2"}
    watch.put_nowait(Event("MODIFIED", config(8, a="2")))
    watch.put_nowait(Event("BOOKMARK", config(9)))
    watch.put_nowait(Event("DELETED", config(10, a="2")))
    await turns()
    assert seen == [{"a": "2"}, None]
    assert await references.get(*REF) is None
    references.release("pod-1")
    references.release("pod-2")
    references.release("nobody")
    assert references.users(REF) == set()
    assert await references.get(*REF) is None
    assert client.asked[-1] == ("get", "c")


@on_script
async def test_a_lost_watch_is_resumed_and_a_forgotten_one_begun_anew(client, references, seen):
    client.listings = [Listing([config(5, a="1")], "5"), Listing([config(20, a="3")], "21")]
    references.hold("pod", *REF)
    watch = await client.begun.get()
    watch.put_nowait(Event("MODIFIED", config(6, a="2")))
    watch.put_nowait(Unavailable("gone"))
    watch = await client.begun.get()
    assert client.asked[-1] == ("watch", "6")
    watch.put_nowait(Expired("too old"))
    await client.begun.get()
    assert client.asked[-2:] == [("find", "metadata.name=c"), ("watch", "21")]
    assert seen == [{"a": "2"}, {"a": "3"}]


@on_script
async def test_while_the_api_says_no_it_is_asked_each_time(client, references, seen):
    client.listings = [Forbidden("not yet"), Listing([], "1")]
    references.hold("pod", *REF)
    client.object = config(1, a="1")
    assert (await references.get(*REF))["data"] == {"a": "1"}
    await client.begun.get()
    assert await references.get(*REF) is None


@on_script
async def test_what_cannot_be_known_is_an_error(client, references, seen):
    client.listings = [Unavailable("down")]

    async def down(ref):
        raise Unavailable("down")

    client.get = down
    references.hold("pod", *REF)
    with pytest.raises(Unavailable):
        await references.get(*REF)


@on_script
async def test_a_release_while_somebody_waits_leaves_nobody_waiting(client, references, seen):
    held = asyncio.Event()

    async def never(*args, **options):
        await held.wait()

    client.find = never
    references.hold("pod", *REF)
    waiting = asyncio.create_task(references.get(*REF))
    await turns()
    references.release("pod")
    assert await waiting is None
