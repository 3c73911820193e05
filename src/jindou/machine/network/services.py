"""From forwarding rules to the elements of the table's maps, and from a change to the difference.

Pure: commands for nft(8) come out, nobody is called. `Program` remembers what the kernel has been
told. An address and port with endpoints is one element of a verdict map and one for each endpoint;
without endpoints, one of a set of things to refuse (an address of the service network needs none:
what is left for it is refused anyway). See `table` for how a packet meets them.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jindou.machine.linux.conntrack import Flow
from jindou.machine.network import Balance, Endpoint
from jindou.machine.network.table import Frame, frame

LEAST_REACH = 16
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}


class Key(NamedTuple):
    """Where packets go: an address ("" = any of this machine), a protocol and a port."""

    version: int  # of IP
    address: str
    protocol: str
    port: int


class Target(NamedTuple):
    endpoints: tuple[Endpoint, ...]
    affinity: int


class Stale(NamedTuple):
    """Flows of `key` that must not go on: to these endpoints, or (None) those never balanced."""

    key: Key
    endpoints: tuple[Endpoint, ...] | None


def version_of(address: str) -> int:
    return 6 if ":" in address else 4


def targets(balance: Balance) -> list[tuple[Key, Target]]:
    """A balance splits by IP version; one for every address of the machine has both."""
    versions = (version_of(balance.address),) if balance.address else (4, 6)
    found = []
    for version in versions:
        endpoints = tuple(e for e in balance.endpoints if version_of(e.address) == version)
        if balance.address or endpoints or not balance.endpoints:
            key = Key(version, balance.address, balance.protocol, balance.port)
            found.append((key, Target(endpoints, balance.affinity)))
    return found


class Transaction:
    """Commands in an order in which each finds what it needs."""

    def __init__(self, table: str) -> None:
        self._table = f"inet {table}"
        self._before: list[str] = []
        self._after: list[str] = []
        self._deleted: defaultdict[str, list[str]] = defaultdict(list)
        self._added: defaultdict[str, list[str]] = defaultdict(list)

    def chain(self, name: str, rules: Iterable[str]) -> None:
        """A new one: to flush an old one, the library would first read every map."""
        self._before.append(f"add chain {self._table} {name}")
        self._before += [f"add rule {self._table} {name} {rule}" for rule in rules]

    def affinity(self, name: str, version: int, seconds: int) -> None:
        kind = f"ipv{version}_addr"
        self._before.append(
            f"add set {self._table} {name} {{ type {kind}; flags dynamic,timeout; "
            f"timeout {seconds}s; size 65535; }}"
        )

    def drop(self, what: str, name: str) -> None:
        self._after.append(f"delete {what} {self._table} {name}")

    def add(self, map: str, element: str) -> None:
        self._added[map].append(element)

    def delete(self, map: str, element: str) -> None:
        self._deleted[map].append(element)

    def text(self) -> str:
        lines = list(self._before)
        for word, elements in (("delete", self._deleted), ("add", self._added)):
            for name, some in elements.items():
                lines.append(f"{word} element {self._table} {name} {{ {', '.join(some)} }}")
        return "\n".join(lines + self._after)


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _place(key: Key) -> str:
    """The key as an element: an address of the machine is not part of it."""
    where = f"{key.address} . " if key.address else ""
    return f"{where}{key.protocol} . {key.port}"


class Program:
    """What the table holds now, and how to get it to hold something else."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._services = [ipaddress.ip_network(network) for network in frame.services]
        self._reach = LEAST_REACH  # there is a shared chain for each number of endpoints up to this
        self._most = 0  # endpoints of one place
        self._forget()

    @property
    def outgrown(self) -> bool:
        """Has a place more endpoints than the table has chains for? Then it has to be made anew."""
        return self._most > self._reach

    def _forget(self) -> None:
        self._balances: dict[int, Balance] = {}  # by identity: most stay the same objects
        self._claims: Counter[Key] = Counter()  # how many balances want a key
        self._now: dict[Key, Target] = {}
        self._hairpins: Counter[str] = Counter()

    def replace(self, balances: Iterable[Balance]) -> str:
        """Commands that make the whole table, whatever was there before."""
        self._forget()
        commands, _ = self.change(balances)
        while self.outgrown:
            self._reach *= 2
        return frame(self._frame, self._reach) + commands

    def change(self, balances: Iterable[Balance]) -> tuple[str, list[Stale]]:
        """Commands for the difference ("" for none), and the flows to end once they are done.

        Of several balances with one key the first counts.
        """
        wanted = {id(balance): balance for balance in balances}
        gone = [self._balances[mark] for mark in self._balances.keys() - wanted.keys()]
        come = [wanted[mark] for mark in wanted.keys() - self._balances.keys()]
        self._balances = wanted
        if not gone and not come:
            return "", []
        touched: set[Key] = set()
        after: dict[Key, Target] = {}
        for balance in gone:
            for key, _ in targets(balance):
                touched.add(key)
                self._claims[key] -= 1
        for balance in come:
            for key, target in targets(balance):
                touched.add(key)
                self._claims[key] += 1
                after[key] = target
        contested = {key for key in touched if self._claims[key] > (key in after)}
        if contested:
            for key in contested:
                after.pop(key, None)
            for balance in wanted.values():
                for key, target in targets(balance):
                    if key in contested:
                        after.setdefault(key, target)
        transaction = Transaction(self._frame.table)
        stale: list[Stale] = []
        for key in sorted(touched):
            self._move(transaction, key, self._now.get(key), after.get(key), stale)
            if not self._claims[key]:
                del self._claims[key]
        return transaction.text(), stale

    def is_astray(self, flow: Flow) -> bool:
        """A UDP flow that leads elsewhere than where a new one would."""
        if flow.protocol != PROTOCOLS["udp"]:
            return False
        answering = Endpoint(flow.answering, flow.answering_port)
        asked = Endpoint(flow.destination, flow.port)
        version = version_of(flow.destination)
        target = self._now.get(Key(version, flow.destination, "udp", flow.port))
        if target is None and answering != asked:
            target = self._now.get(Key(version, "", "udp", flow.port))
        return bool(target and target.endpoints and answering not in target.endpoints)

    def _move(
        self,
        transaction: Transaction,
        key: Key,
        old: Target | None,
        new: Target | None,
        stale: list[Stale],
    ) -> None:
        if old == new:
            return
        was, is_ = self._elements(key, old), self._elements(key, new)
        for (map, element), value in was.items():
            if is_.get((map, element)) != value:
                transaction.delete(map, element)
        for (map, element), value in is_.items():
            if was.get((map, element)) != value:
                transaction.add(map, f"{element} : {value}" if value else element)
        self._count_hairpins(transaction, key, old, new)
        self._provide(transaction, key, old, new)
        if new is None:
            del self._now[key]
        else:
            self._now[key] = new
        if key.protocol == "udp":
            lost = set(old.endpoints if old else ()) - set(new.endpoints if new else ())
            if lost:
                stale.append(Stale(key, tuple(sorted(lost))))
            if new and new.endpoints and not (old and old.endpoints):
                stale.append(Stale(key, None))

    def _elements(self, key: Key, target: Target | None) -> dict[tuple[str, str], str]:
        """{(map, key): value} of one balanced place; "" as value: an element of a set."""
        if target is None:
            return {}
        version, place = key.version, _place(key)
        if not target.endpoints:
            if not key.address:
                return {(f"refused_ports{version}", place): ""}
            address = ipaddress.ip_address(key.address)
            if any(address in network for network in self._services):
                return {}
            return {(f"refused{version}", place): ""}
        entry = f"services{version}" if key.address else f"nodeports{version}"
        if target.affinity:
            return {(entry, place): f"goto {_sticky_chain(key, target)}"}
        slots = f"endpoints{version}" if key.address else f"node_endpoints{version}"
        found = {(entry, place): f"goto {self._spread(key, target)}"}
        for slot, endpoint in enumerate(target.endpoints):
            found[slots, f"{place} . {slot}"] = f"{endpoint.address} . {endpoint.port}"
        return found

    @staticmethod
    def _spread(key: Key, target: Target) -> str:
        return f"{'n' if key.address else 'p'}{len(target.endpoints)}"

    def _count_hairpins(
        self, transaction: Transaction, key: Key, old: Target | None, new: Target | None
    ) -> None:
        change: Counter[str] = Counter(e.address for e in (new.endpoints if new else ()))
        change.subtract(e.address for e in (old.endpoints if old else ()))
        for address, count in change.items():
            before = self._hairpins[address]
            after = self._hairpins[address] = before + count
            if before == 0 and after:
                transaction.add(f"hairpin{key.version}", f"{address} . {address}")
            elif before and after == 0:
                transaction.delete(f"hairpin{key.version}", f"{address} . {address}")

    def _provide(
        self, transaction: Transaction, key: Key, old: Target | None, new: Target | None
    ) -> None:
        """The chains of their own that elements with affinity lead to."""
        had = _affinity_sets(key, old)
        have = _affinity_sets(key, new)
        for name, endpoint in have.items():
            if name not in had:
                assert new
                transaction.affinity(name, key.version, new.affinity)
                transaction.chain(f"{name}_to", _remember(key, endpoint, name))
        if have and new:
            transaction.chain(_sticky_chain(key, new), _stick(key, list(have)))
        if had and old:
            transaction.drop("chain", _sticky_chain(key, old))
        for name in had.keys() - have.keys():
            transaction.drop("chain", f"{name}_to")
            transaction.drop("set", name)
        if new and not new.affinity:
            self._most = max(self._most, len(new.endpoints))


def _sticky_chain(key: Key, target: Target) -> str:
    """The name has all that the chain depends on: no chain ever changes."""
    return f"a_{_digest(key, target)}"


def _affinity_sets(key: Key, target: Target | None) -> Mapping[str, Endpoint]:
    """{name of the set of clients that stay there: endpoint}; the name has all that it depends on."""
    if not target or not target.affinity:
        return {}
    return {f"a_{_digest(key, e, target.affinity)}": e for e in target.endpoints}


def _remember(key: Key, endpoint: Endpoint, name: str) -> list[str]:
    word = "ip" if key.version == 4 else "ip6"
    address = endpoint.address if key.version == 4 else f"[{endpoint.address}]"
    return [
        f"update @{name} {{ {word} saddr }}",
        f"meta l4proto {key.protocol} dnat {word} to {address}:{endpoint.port}",
    ]


def _stick(key: Key, names: list[str]) -> list[str]:
    word = "ip" if key.version == 4 else "ip6"
    known = [f"{word} saddr @{name} goto {name}_to" for name in names]
    draw = ", ".join(f"{slot} : goto {name}_to" for slot, name in enumerate(names))
    return [*known, f"numgen random mod {len(names)} vmap {{ {draw} }}"]
