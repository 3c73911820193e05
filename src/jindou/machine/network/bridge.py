"""Units on a bridge of this machine, routed by it: the driver of every real cloud.

Each unit has a veth whose far end is born in the unit's namespace. Its address is a /32 (/128) and
its only route leads to the gateway: so every packet between units passes the machine's own routing,
where services are translated in both directions. Where the kernel filters bridged packets too
(br_netfilter, a setting for all bridges of the machine that is not ours to change) it sends a
translated packet from port to port itself; ports may therefore answer where they were asked.

A veth is never deleted: freeing the namespace takes it along, in bulk and asynchronously. What is
made is recorded before (`records`), and `open` clears what a kill left half made.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import ipaddress
import os
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from jindou.machine.linux import namespaces, netlink
from jindou.machine.linux.netlink import Netlink
from jindou.machine.network import (
    Attachment,
    Balance,
    Endpoint,
    NetworkError,
    Plug,
    Rules,
    sysctls,
)
from jindou.machine.network.addresses import Addresses, Exhausted
from jindou.machine.network.forwarding import Forwarding
from jindou.machine.network.records import Record, Records
from jindou.machine.network.table import Frame
from jindou.settings import Settings

# What container engines give: any port may be opened, and ping works, without privilege.
UNIT_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}
KINDS = ("network", "uts", "ipc")
T = TypeVar("T")


class BridgeNetwork:
    """Implements `Network`. Lives in the network namespace of the thread that makes it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = Path(settings.run) / "network"
        self._records = Records(self._folder)
        six = settings.pod_cidr6 if _has_ipv6() else ""
        self.addresses = Addresses(settings.pod_cidr, six)
        self._six = bool(six)
        networks = (settings.pod_cidr, settings.pod_cidr6)[: 2 if six else 1]
        services = (settings.service_cidr, settings.service_cidr6)[: 2 if six else 1]
        self._frame = Frame(settings.name, settings.bridge, networks, services)
        versions = (4, 6)[: 2 if six else 1]
        self._forwarding = Forwarding(self._frame, self._folder / "frame", versions)
        self._attached: dict[str, Record] = {}
        self._busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._bridge = 0  # interface number
        self._mtu = 1500
        self._makers = ThreadPoolExecutor(2, "network")

    @property
    def gateway(self) -> tuple[str, ...]:
        """Our own addresses on the bridge: IPv4, then IPv6."""
        return self.addresses.gateway

    # ------------------------------------------------------------ the machine's side

    async def open(self) -> None:
        try:
            await self._work(self._open)
            await self._forwarding.open()
        except OSError as error:
            raise NetworkError(f"the network of this machine: {error}") from error

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with Netlink() as link:
            self._mtu = _uplink_mtu(link)
            self._make_bridge(link)
        self._set_sysctls()
        self._adopt()

    def _make_bridge(self, link: Netlink) -> None:
        name = self._settings.bridge
        found = link.find(name)
        if found and found.kind != "bridge":
            raise NetworkError(f"an interface {name} exists already, and is not a bridge")
        gateway = [ipaddress.ip_address(address) for address in self.gateway]
        if not found:
            link.batch([netlink.bridge(name, self._mtu, _mac(self.gateway[0]))])
            found = link.find(name)
            assert found
        if self._six:  # a tentative address can't ask for neighbours, for the first two seconds
            sysctls.write(f"net/ipv6/conf/{name}/accept_dad", "0")
        self._bridge = found.id
        lengths = [self.addresses.network.prefixlen, 0]
        if self.addresses.network6:
            lengths[1] = self.addresses.network6.prefixlen
        link.batch(
            [netlink.link_up(1), netlink.link_up(self._bridge, self._mtu)]
            + [
                netlink.address(self._bridge, ipaddress.ip_interface(f"{address}/{length}"))
                for address, length in zip(gateway, lengths)
            ]
            + [
                netlink.route(ipaddress.ip_network(network), self._bridge, source=address)
                for network, address in zip(self._frame.services, gateway)
            ]
        )

    def _set_sysctls(self) -> None:
        bridge = self._settings.bridge
        wanted = {"net.ipv4.ip_forward": "1"}
        if self._six:
            for interface in sorted(os.listdir("/proc/sys/net/ipv6/conf")):
                name = f"net/ipv6/conf/{interface}/accept_ra"
                if interface not in ("all", "lo", bridge) and sysctls.read(name) == "1":
                    wanted[name] = "2"  # a router would stop believing in its own router
            wanted["net.ipv6.conf.all.forwarding"] = "1"
        self._remembered = sysctls.Remembered(self._folder / "sysctls")
        self._remembered.set(wanted)
        sysctls.write(f"net/ipv4/conf/{bridge}/route_localnet", "1")  # 127.0.0.1:NODE-PORT
        sysctls.write(f"net/ipv4/conf/{bridge}/send_redirects", "0")
        if self._six:
            sysctls.write(f"net/ipv6/conf/{bridge}/accept_ra", "0")

    def _adopt(self) -> None:
        """Take over what an earlier process made; undo what it could not finish."""
        with Netlink() as link:
            links = {one.name: one for one in link.links()}
            for record in self._records.read():
                cable = links.get(host_end(record.sandbox))
                if cable and self._is_whole(record):
                    self._attached[record.sandbox] = record
                    self._forwarding.adopt_ports(record.sandbox, self._host_ports(record))
                    if cable.master != self._bridge:  # the bridge was made anew
                        link.batch([netlink.plug(cable.name, self._bridge)])
                        link.batch([netlink.port(cable.name, hairpin=True)])
                else:
                    self._free(record.sandbox)
        self.addresses.restore((r.sandbox, r.number) for r in self._attached.values())

    def _is_whole(self, record: Record) -> bool:
        """Was the sandbox made to its end? The default routes are the last that it gets."""
        paths = self._paths(record.sandbox)
        if not all(namespaces.is_kept(path) for path in paths.values()):
            return False
        with namespaces.enter(paths["network"], Netlink) as inside:
            ways = {route.gateway for route in inside.routes() if not route.destination}
        return ways.issuperset(self.gateway)

    async def leave(self) -> None:
        await self._forwarding.leave()
        self._makers.shutdown()

    async def close(self) -> None:
        for sandbox in list(self._attached):
            await self.detach(sandbox)
        await self._forwarding.close()
        await self._work(self._close)
        self._makers.shutdown()

    def _close(self) -> None:
        for record in self._records.read():
            namespaces.free(self._paths(record.sandbox).values())
            self._records.remove(record.sandbox)
        with Netlink() as link:
            bridge = link.find(self._settings.bridge)
            if bridge and bridge.kind == "bridge":
                ports = [port for port in link.links() if port.master == bridge.id]
                link.batch(
                    [netlink.delete_link(one.id) for one in (*ports, bridge)],
                    ignore=(errno.ENODEV,),
                )
        sysctls.Remembered(self._folder / "sysctls").restore()
        for leftover in self._folder.glob("*"):
            leftover.unlink()
        if self._folder.exists():
            self._folder.rmdir()

    # ------------------------------------------------------------ units

    async def attach(self, plug: Plug) -> Attachment:
        return await _finish(self._attach(plug))

    async def _attach(self, plug: Plug) -> Attachment:
        async with self._alone(plug.sandbox):
            if plug.sandbox not in self._attached:
                try:
                    number = self.addresses.take(plug.sandbox)
                    ports = self._host_ports(Record(plug.sandbox, number, plug.host_ports))
                    record = await self._work(self._make, plug, number)
                except (OSError, Exhausted, ValueError) as error:
                    self.addresses.release(plug.sandbox)
                    raise NetworkError(f"network of {plug.sandbox}: {error}") from error
                self._attached[plug.sandbox] = record
                await self._forwarding.set_ports(plug.sandbox, ports)
            return self._attachment(self._attached[plug.sandbox])

    def _alone(self, sandbox: str) -> asyncio.Lock:
        """One at a time for each sandbox."""
        return self._busy.setdefault(sandbox, asyncio.Lock())

    def _make(self, plug: Plug, number: int) -> Record:
        paths = self._paths(plug.sandbox)
        try:
            record = self._records.write(plug, number)
            namespaces.free(paths.values())
            inside = namespaces.make(paths, plug.hostname, lambda: _prepare(plug, self._six))
            with inside, Netlink() as link:
                self._connect(plug.sandbox, number, paths["network"], link, inside)
        except BaseException:
            self._free(plug.sandbox)
            raise
        return record

    def _connect(
        self, sandbox: str, number: int, namespace: Path, link: Netlink, inside: Netlink
    ) -> None:
        name = host_end(sandbox)
        addresses = [ipaddress.ip_interface(address) for address in self.addresses.of(number)]
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            mac = _mac(str(addresses[0].ip))
            cable = netlink.veth(name, self._bridge, self._mtu, descriptor, "eth0", mac)
            turning = netlink.port(name, hairpin=True)
            try:
                link.batch([cable, turning])
            except OSError as error:
                old = link.find(name) if error.errno == errno.EEXIST else None
                if not old:  # else the end of a namespace that is on its way out
                    raise
                link.batch([netlink.delete_link(old.id)], ignore=(errno.ENODEV,))
                link.batch([cable, turning])
        finally:
            os.close(descriptor)
        inside.batch(
            [netlink.link_up(1), netlink.link_up(2)]
            + [netlink.address(2, address) for address in addresses]
            + [netlink.route(None, 2, ipaddress.ip_address(way)) for way in self.gateway]
        )

    async def detach(self, sandbox: str) -> None:
        await _finish(self._detach(sandbox))

    async def _detach(self, sandbox: str) -> None:
        async with self._alone(sandbox):
            self._attached.pop(sandbox, None)
            await self._forwarding.set_ports(sandbox, ())
            await self._work(self._free, sandbox)
            self.addresses.release(sandbox)

    def _free(self, sandbox: str) -> None:
        namespaces.free(self._paths(sandbox).values())
        self._records.remove(sandbox)

    async def observe(self) -> Mapping[str, Attachment]:
        return {name: self._attachment(record) for name, record in self._attached.items()}

    def _attachment(self, record: Record) -> Attachment:
        return Attachment(self.addresses.of(record.number), self._paths(record.sandbox))

    def _paths(self, sandbox: str) -> dict[str, Path]:
        return {kind: self._folder / f"{sandbox}.{kind}" for kind in KINDS}

    # ------------------------------------------------------------ packet rules

    async def program(self, rules: Rules) -> None:
        await self._forwarding.set(rules)

    def _host_ports(self, record: Record) -> tuple[Balance, ...]:
        balances = []
        addresses = self.addresses.of(record.number)
        for port in record.host_ports:
            endpoints = tuple(Endpoint(address, port.unit_port) for address in addresses)
            where = "" if port.host_address in ("", "0.0.0.0", "::") else port.host_address
            if where:
                where = str(ipaddress.ip_address(where))
            if port.host_address == "0.0.0.0":
                endpoints = endpoints[:1]
            balances.append(Balance(where, port.protocol, port.port, endpoints))
        return tuple(balances)

    async def _work(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._makers, call, *args)


async def _finish(work: Coroutine[object, object, T]) -> T:
    """A caller may give up waiting; what was begun on the machine is still brought to its end."""
    return await asyncio.shield(asyncio.ensure_future(work))


def _prepare(plug: Plug, six: bool) -> Netlink:
    """Runs inside the new namespaces."""
    ours = {**UNIT_SYSCTLS, "net.ipv6.conf.default.accept_dad": "0"} if six else UNIT_SYSCTLS
    for name, value in {**ours, **plug.sysctls}.items():
        try:
            sysctls.write(name, value)
        except OSError as error:
            raise OSError(error.errno, f"setting {name} to {value}: {error.strerror}") from None
    return Netlink()


def host_end(sandbox: str) -> str:
    """The name of our end of a sandbox's cable; the kernel allows 15 characters."""
    return f"jv{hashlib.blake2b(sandbox.encode(), digest_size=6).hexdigest()}"


def _mac(address: str) -> bytes:
    """Locally administered, and the same for an address whoever has it: no stale neighbours."""
    return b"\x0a\x58" + ipaddress.IPv4Address(address).packed


def _has_ipv6() -> bool:
    names = ("net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.default.disable_ipv6")
    return all(sysctls.read(name) == "0" for name in names)


def _uplink_mtu(link: Netlink) -> int:
    ways = {route.interface for route in link.routes() if not route.destination}
    return min((one.mtu for one in link.links() if one.id in ways), default=1500)
