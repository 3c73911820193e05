"""Each of many objects deleted once, by fifty connections: no load generator can count so.

`python -m bench.api.deleting PORT TOKEN FILE` prints deletions per second; FILE holds a path a line.
"""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.api.clients import CLIENT, on_core
from bench.api.watchers import Connection

CONNECTIONS = 50


def rate(port: int, token: str, paths: Sequence[str], folder: Path) -> float:
    file = folder / "paths"
    file.write_text("\n".join(paths))
    words = [sys.executable, "-m", "bench.api.deleting", str(port), token, str(file)]
    with on_core(CLIENT):
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout)


def answered(data: bytes) -> bool:
    """Is this an answer, whole? It has to be a good one."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(data.decode(errors="replace"))
    low = head.lower()
    if b"transfer-encoding: chunked" in low:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(low.partition(b"content-length: ")[2].split(b"\r\n")[0])


def main(port: int, token: str, paths: list[str]) -> None:
    connections = [Connection(port, 0) for _ in range(CONNECTIONS)]
    poll, got = select.epoll(), {one.sock.fileno(): b"" for one in connections}
    by_number = {one.sock.fileno(): one for one in connections}
    left, due = iter(paths), 0
    lines = f"HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    began = time.perf_counter()
    for one in connections:
        poll.register(one.sock, select.EPOLLIN)
        one.write(f"DELETE {next(left)} {lines}".encode())
        due += 1
    while due:
        for number, _ in poll.poll(5.0):
            one = by_number[number]
            one.pieces.append(one.sock.recv(1 << 17))
            got[number] += one.decrypted()
            if answered(got[number]):
                got[number] = b""
                due -= 1
                if (path := next(left, None)) is not None:
                    one.write(f"DELETE {path} {lines}".encode())
                    due += 1
    print(len(paths) / (time.perf_counter() - began))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_text().splitlines())
