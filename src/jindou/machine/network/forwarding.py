"""Our table in the kernel: brought from what it was told last to what is wanted now.

All work is done in one worker thread, in the order in which it was asked for. An earlier process's
table forwards until the first `set`. Should someone else remove the table (a firewall that starts
anew flushes all rules of the machine), the kernel tells us and it is made again.

Sources: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from jindou.machine.linux import conntrack
from jindou.machine.linux.netlink import HEADER, attributes
from jindou.machine.linux.nftables import Nftables, NftablesError
from jindou.machine.network import Balance, Endpoint, NetworkError, Rules
from jindou.machine.network.foreign import Dropper, droppers
from jindou.machine.network.services import PROTOCOLS, Program, Stale
from jindou.machine.network.table import Frame

log = logging.getLogger("jindou.network")

NETLINK_NETFILTER, NETLINK_ADD_MEMBERSHIP, SOL_NETLINK = 12, 1, 270
GROUP_NFTABLES, DELETED_TABLE, TABLE_NAME = 7, 10 << 8 | 2, 1
T = TypeVar("T")


class Forwarding:
    """Lives in the network namespace of the thread that opens it."""

    def __init__(self, frame: Frame, mark: Path, versions: tuple[int, ...]) -> None:
        """`mark` is a file that says which frame an earlier process made."""
        self._frame = frame
        self._mark = mark
        self._versions = versions
        self._program = Program(frame)
        self._nftables = Nftables()
        self._rules: Rules | None = None  # None: the table is as an earlier process left it
        self._ports: dict[str, tuple[Balance, ...]] = {}  # host ports of each sandbox
        self._worker = ThreadPoolExecutor(1, "packet-rules")
        self._news: socket.socket | None = None

    async def open(self) -> None:
        await self._in_order(self._open)
        self._listen()

    async def set(self, rules: Rules) -> None:
        await self._in_order(self._set, rules)

    async def set_ports(self, sandbox: str, balances: tuple[Balance, ...]) -> None:
        """Host ports of one sandbox; none to be rid of them."""
        if balances or sandbox in self._ports:
            await self._in_order(self._set_ports, sandbox, balances)

    def adopt_ports(self, sandbox: str, balances: tuple[Balance, ...]) -> None:
        """Those that the table of an earlier process has already. Before `open`."""
        if balances:
            self._ports[sandbox] = balances

    async def leave(self) -> None:
        self._ignore()
        self._worker.shutdown()
        self._nftables.close()

    async def close(self) -> None:
        self._ignore()
        await self._in_order(self._remove)
        await self.leave()

    async def _in_order(self, call: Callable[..., T], *args: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, call, *args)
        except NftablesError as error:
            raise NetworkError(f"packet rules: {error}") from error

    # ------------------------------------------------------------ in the worker

    def _open(self) -> None:
        wanted = hashlib.sha256(Program(self._frame).replace(()).encode()).hexdigest()
        made_by = self._mark.read_text() if self._mark.exists() else ""
        if made_by != wanted or not self._is_there():
            self._rules = self._rules or Rules()
            self._replace()
            self._mark.write_text(wanted)
        for one in self.obstacles():
            log.warning("packet rules: %s drops what it does not know (%s)", one.where, one.remedy)

    def obstacles(self) -> list[Dropper]:
        rows = self._nftables.read("list chains")
        return droppers(rows, self._frame.table, self._frame.bridge)

    def _is_there(self) -> bool:
        tables = self._nftables.read("list tables inet")
        return any(row.get("table", {}).get("name") == self._frame.table for row in tables)

    def _restore(self) -> None:
        """After someone removed the table."""
        if not self._is_there():
            log.warning(
                "packet rules: the table %s was removed, and is made anew", self._frame.table
            )
            self._rules = self._rules or Rules()
            self._replace()

    def _remove(self) -> None:
        name = f"inet {self._frame.table}"
        self._nftables.run(f"add table {name}\ndelete table {name}")

    def _set(self, rules: Rules) -> None:
        first = self._rules is None
        self._rules = rules
        if first:
            self._replace()
        else:
            self._apply()

    def _set_ports(self, sandbox: str, balances: tuple[Balance, ...]) -> None:
        self._ports.pop(sandbox, None)
        if balances:
            self._ports[sandbox] = balances
        self._apply()

    def _balances(self) -> list[Balance]:
        found = [balance for some in self._ports.values() for balance in some]
        found += self._rules.balances if self._rules else ()
        return found

    def _replace(self) -> None:
        self._nftables.run(self._program.replace(self._balances()))
        for version in self._versions:
            conntrack.end(version, self._program.is_astray)

    def _apply(self) -> None:
        if self._rules is None:  # add to what an earlier process left, until all is known
            commands, _ = Program(self._frame).change(self._balances())
            with contextlib.suppress(NftablesError):  # what it left says otherwise: for `set`
                self._nftables.run(commands)
            return
        commands, stale = self._program.change(self._balances())
        if self._program.outgrown:
            self._replace()
        elif commands:
            try:
                self._nftables.run(commands)
            except NftablesError as error:  # someone else changed our table
                log.warning("packet rules: %s; the table is made anew", error)
                self._replace()
        for version in {one.key.version for one in stale}.intersection(self._versions):
            unwanted = [one for one in stale if one.key.version == version]
            conntrack.end(version, lambda flow, unwanted=unwanted: is_stale(flow, unwanted))  # type: ignore[misc]

    # ------------------------------------------------------------ news from the kernel

    def _listen(self) -> None:
        if self._news is None:
            self._news = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
                NETLINK_NETFILTER,
            )
            self._news.bind((0, 0))
            self._news.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, GROUP_NFTABLES)
            asyncio.get_running_loop().add_reader(self._news, self._read_news)

    def _ignore(self) -> None:
        if self._news is not None:
            asyncio.get_running_loop().remove_reader(self._news)
            self._news.close()
            self._news = None

    def _read_news(self) -> None:
        """Many messages tell of our own changes; too many at once (ENOBUFS) may hide the one."""
        assert self._news
        try:
            removed = is_removed(self._news.recv(1 << 16), self._frame.table)
        except BlockingIOError:
            return
        except OSError:
            removed = True
        if removed:
            self._worker.submit(self._restore).add_done_callback(_complain)


def _complain(done: object) -> None:
    error = getattr(done, "exception", lambda: None)()
    if error is not None:
        log.error("packet rules: %s", error)


def is_removed(news: bytes, table: str) -> bool:
    """Does this packet of messages say that the table is gone?"""
    start = 0
    while start + HEADER.size <= len(news):
        length, kind, *_ = HEADER.unpack_from(news, start)
        if kind == DELETED_TABLE:
            body = memoryview(news)[start + HEADER.size : start + length]
            if dict(attributes(body, 4)).get(TABLE_NAME, b"").rstrip(b"\0") == table.encode():
                return True
        start += max(HEADER.size, (length + 3) & ~3)
    return False


def is_stale(flow: conntrack.Flow, unwanted: list[Stale]) -> bool:
    for key, endpoints in unwanted:
        if flow.protocol != PROTOCOLS[key.protocol] or flow.port != key.port:
            continue
        if key.address and flow.destination != key.address:
            continue
        answering = Endpoint(flow.answering, flow.answering_port)
        if endpoints is None:
            if answering == (flow.destination, flow.port):
                return True
        elif answering in endpoints:
            return True
    return False
