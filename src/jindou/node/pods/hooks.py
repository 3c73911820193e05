"""postStart and preStop: what a container wants done when it has started and before it ends."""

from __future__ import annotations

import asyncio

from jindou.node.pods.actions import Result, Target, perform
from jindou.objects.kinds import Object

AGENT = "kube-lifecycle/1.37"


def hook_of(container: Object, name: str) -> Object | None:
    held: Object | None = (container.get("lifecycle") or {}).get(name)
    return held


async def run_hook(hook: Object, target: Target) -> Result:
    """To its end. An HTTP hook has been done when it was answered, with whatever status."""
    result = await perform(hook, target, AGENT)
    if hook.get("httpGet") and result.output.startswith("HTTP probe failed with statuscode"):
        return Result(True, result.output)
    return result


async def run_hook_within(hook: Object, target: Target, seconds: float) -> Result:
    """The same, given up after a time."""
    done = asyncio.ensure_future(run_hook(hook, target))
    limit = asyncio.ensure_future(target.clock.sleep(seconds))
    try:
        await asyncio.wait((done, limit), return_when=asyncio.FIRST_COMPLETED)
        return done.result() if done.done() else Result(False, "it did not end in time")
    finally:
        done.cancel()
        limit.cancel()


def failure(name: str, container: Object, hook: Object, result: Result) -> str:
    """The sentence of the event."""
    what = next((kind for kind in ("exec", "httpGet", "tcpSocket", "sleep") if hook.get(kind)), "")
    detail = hook.get(what) or {}
    words = " ".join(detail.get("command") or ()) if what == "exec" else detail.get("path", "")
    shown = f"{what} {words}".strip()
    return f'{name} hook ({shown}) of container "{container["name"]}" failed: {result.output or "no reason given"}'
