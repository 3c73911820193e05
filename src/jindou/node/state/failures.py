"""What a container waits with after a failure, and for how long."""

from __future__ import annotations

from jindou.node.clock import Clock
from jindou.node.images import PullError
from jindou.node.state import status
from jindou.node.state.progress import Progress, Waiting
from jindou.node.state.security import ConfigRefused
from jindou.node.volumes.environment import ConfigError
from jindou.node.volumes.volumes import VolumeError
from jindou.objects.kinds import Object

SETTLE = 1.0  # seconds for which the failure itself is shown, before the back-off


def duration(seconds: float) -> str:
    """As Go writes it: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def back_off_after_exit(held: Progress, pod: Object, now: float, message: str = "") -> None:
    """`message`: the runtime could not start it."""
    held.failed_at = now
    held.retry_at = held.backoff.next_after(now)
    held.waiting = Waiting("RunContainerError", message) if message else None
    if held.retry_at <= now:
        return
    meta = pod["metadata"]
    where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
    delay = duration(held.backoff.delay)
    said = f"back-off {delay} restarting failed container={held.name} pod={where}"
    held.later, held.settle_at = Waiting("CrashLoopBackOff", said), now + SETTLE


def start_failed(held: Progress, pod: Object, message: str, clock: Clock) -> None:
    """The runtime said no: as if it had run, and exited with 128."""
    held.terminated = status.terminated(held, 128, "StartError", message, clock.wall())
    held.phase = "exited"
    if not held.done:
        back_off_after_exit(held, pod, clock.now(), message)


def waiting_after(held: Progress, image: str, error: Exception, now: float) -> None:
    """It was not started: the reason is shown, and it is tried again."""
    if isinstance(error, PullError):
        held.waiting = Waiting(error.reason, error.message)
        held.retry_at = now + max(error.retry_after, SETTLE)
        if error.reason == "ErrImagePull":
            said = f'Back-off pulling image "{image}": ErrImagePull: {error.message}'
            held.later, held.settle_at = Waiting("ImagePullBackOff", said), now + SETTLE
        return
    known = isinstance(error, (ConfigError, ConfigRefused, VolumeError))
    reason = "CreateContainerConfigError" if known else "CreateContainerError"
    held.waiting = Waiting(reason, str(error) or type(error).__name__)
    held.retry_at = now + held.tries.delay()


def settle(held: Progress, pod: Object, container: Object) -> list[tuple[str, str, str]]:
    """From now on the back-off shows; the events that say so."""
    held.waiting, held.later = held.later, None
    reason = held.waiting.reason if held.waiting else ""
    if reason == "CrashLoopBackOff":
        meta = pod["metadata"]
        where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        said = f"Back-off restarting failed container {held.name} in pod {where}"
        return [("Warning", "BackOff", said)]
    if reason == "ImagePullBackOff":
        said = f'Back-off pulling image "{container["image"]}"'
        return [("Normal", "BackOff", said), ("Warning", "Failed", "Error: ImagePullBackOff")]
    return []
