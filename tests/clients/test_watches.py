"""A hundred watches on one cloud, and a thousand changes: each sees the same, in the same order."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow
WATCHES, CHANGES = 100, 1000


def test_a_hundred_watches_see_a_thousand_changes_alike(pretended, namespace, tmp_path):
    asyncio.run(scenario(pretended, namespace, tmp_path))


async def scenario(pretended, namespace: str, tmp_path: Path) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    base = f"{pretended.settings.url}/api/v1/namespaces/{namespace}/configmaps"
    connector = aiohttp.TCPConnector(ssl=trusted(pretended.kubeconfig, tmp_path), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get(base) as answer:
            since = (await answer.json())["metadata"]["resourceVersion"]
        ready = [asyncio.Event() for _ in range(WATCHES)]
        url = f"{base}?watch=true&resourceVersion={since}"
        watches = [asyncio.create_task(follow(session, url, event)) for event in ready]
        await asyncio.gather(*(event.wait() for event in ready))
        written = await asyncio.wait_for(change(session, base), 120)
        seen = await asyncio.wait_for(asyncio.gather(*watches), 120)
    assert len(written) == CHANGES
    assert sorted(set(written)) == sorted(written)
    assert [revision for _, _, revision in seen[0]] == sorted(written)
    assert all(one == seen[0] for one in seen[1:])


async def change(session, base: str) -> list[int]:
    """Ten writers: each makes one object and changes it ninety-nine times."""

    async def write(number: int) -> list[int]:
        name, revisions = f"m{number}", []

        async def ask(method: str, url: str, body: object) -> None:
            kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
            async with session.request(
                method, url, data=json.dumps(body), headers={"Content-Type": kind}
            ) as a:
                assert a.status in (200, 201), await a.text()
                told = await a.json()
            revisions.append(int(told["metadata"]["resourceVersion"]))

        await ask("POST", base, {"metadata": {"name": name}})
        for n in range(CHANGES // 10 - 1):
            await ask("PATCH", f"{base}/{name}", {"data": {"n": str(n)}})
        return revisions

    return [r for held in await asyncio.gather(*map(write, range(10))) for r in held]


async def follow(session, url: str, ready: asyncio.Event) -> list[tuple[str, str, int]]:
    seen: list[tuple[str, str, int]] = []
    async with session.get(url) as answer:
        assert answer.status == 200
        ready.set()
        while len(seen) < CHANGES:
            event = json.loads(await answer.content.readline())
            meta = event["object"]["metadata"]
            seen.append((event["type"], meta["name"], int(meta["resourceVersion"])))
    return seen


def trusted(kubeconfig: str, folder: Path) -> ssl.SSLContext:
    document = yaml.safe_load(Path(kubeconfig).read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    held = {"ca": cluster["certificate-authority-data"], "cert": user["client-certificate-data"], "key": user["client-key-data"]}  # fmt: skip
    for name, data in held.items():
        (folder / name).write_bytes(base64.b64decode(data))
    made = ssl.create_default_context(cafile=str(folder / "ca"))
    made.load_cert_chain(folder / "cert", folder / "key")
    return made
