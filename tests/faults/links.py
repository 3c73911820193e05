"""A bad line between two network namespaces: packets are late, lost, doubled, or go one way only.

    with link(seed) as line:
        line.near.run(...)          # a process at one end (10.99.0.1), `line.far` at the other
        line.loss, line.double, line.delay = 0.02, 0.01, 0.03
        line.lets_through = {"near"}     # only what the near end sends: half open

Each end is a TUN device; a thread carries packets between them, by a heap of when they are due.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SETIFF, TUN, NO_PI = 0x400454CA, 0x0001, 0x1000
NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class End:
    """A network namespace of its own with a TUN device in it."""

    def __init__(self, name: str, address: str, peer: str) -> None:
        self.name, self.address, self._peer = name, address, peer
        made: list[int | BaseException] = []
        thread = threading.Thread(target=self._make, args=(made,))
        thread.start()
        thread.join()
        if isinstance(made[0], BaseException):
            raise made[0]
        self.namespace, self.device = made  # type: ignore[assignment]

    def _make(self, made: list[int | BaseException]) -> None:
        """In a thread that is left in the namespace, and ends."""
        try:
            if _libc.unshare(NEWNET):
                raise OSError(ctypes.get_errno(), "making a network namespace")
            namespace = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(device, SETIFF, struct.pack("16sH14x", b"line", TUN | NO_PI))
            for words in (
                f"ip address add {self.address} peer {self._peer} dev line",
                "ip link set line up",
                "ip link set lo up",
            ):
                subprocess.run(words.split(), check=True)
            made += [namespace, device]
        except BaseException as error:
            made.append(error)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, for as long as it makes its sockets or starts its processes."""
        home = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        try:
            _enter(self.namespace)
            yield
        finally:
            _enter(home)
            os.close(home)

    def close(self) -> None:
        os.close(self.device)
        os.close(self.namespace)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, NEWNET):
        raise OSError(ctypes.get_errno(), "entering a network namespace")


class Line:
    def __init__(self, seed: int) -> None:
        self.near = End("near", "10.99.0.1", "10.99.0.2")
        self.far = End("far", "10.99.0.2", "10.99.0.1")
        self.loss = self.double = self.delay = 0.0
        self.lets_through = {"near", "far"}
        self.counts: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._stop = False
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        due: list[tuple[float, int, int, bytes]] = []
        ends = {self.near.device: self.far.device, self.far.device: self.near.device}
        number = 0
        while not self._stop:
            wait = max(0.0, due[0][0] - time.monotonic()) if due else 0.05
            ready, _, _ = select.select(list(ends), [], [], min(wait, 0.05))
            for device in ready:
                for packet in _packets(device):
                    name = "near" if device == self.near.device else "far"
                    for when in self._fate(name):
                        number += 1
                        heapq.heappush(due, (when, number, ends[device], packet))
            while due and due[0][0] <= time.monotonic():
                _, _, device, packet = heapq.heappop(due)
                with contextlib.suppress(OSError):
                    os.write(device, packet)

    def _fate(self, sender: str) -> list[float]:
        """When it arrives: never, once or twice."""
        chance = self._chance
        self.counts["carried"] += 1
        if sender not in self.lets_through or chance.random() < self.loss:
            self.counts["lost"] += 1
            return []
        times = 1 + (chance.random() < self.double)
        self.counts["doubled"] += times - 1
        now = time.monotonic()
        return [now + self.delay * (0.5 + chance.random()) for _ in range(times)]

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self.near.close()
        self.far.close()


def _packets(device: int) -> Iterator[bytes]:
    with contextlib.suppress(BlockingIOError):
        for _ in range(64):
            yield os.read(device, 65536)


@contextlib.contextmanager
def link(seed: int) -> Iterator[Line]:
    assert Path("/dev/net/tun").exists()
    line = Line(seed)
    try:
        yield line
    finally:
        line.close()
