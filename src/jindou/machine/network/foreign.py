"""Packet rules of others that stand in our way. They are never touched, only told about.

In nftables a packet has to pass every table, so nothing in ours can let pass what a firewall's
chain drops by its policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

HOOKS = ("forward", "input")
# A chain that only this product has -> what lets our packets pass it.
REMEDIES = {
    "DOCKER-USER": "iptables -I DOCKER-USER -i {bridge} -j ACCEPT; "
    "iptables -I DOCKER-USER -o {bridge} -j ACCEPT",
    "ufw-user-forward": "ufw route allow in on {bridge}; ufw allow in on {bridge}",
    "filter_FORWARD": "firewall-cmd --permanent --zone=trusted --add-interface={bridge}; "
    "firewall-cmd --reload",
}


class Dropper(NamedTuple):
    """A chain that drops whatever it doesn't know."""

    where: str  # ip filter FORWARD
    hook: str
    remedy: str  # a command, or "" when we don't know whose it is


def droppers(rows: Iterable[Mapping[str, Any]], table: str, bridge: str) -> list[Dropper]:
    """`rows` are the answer to `list chains`; `table` is ours."""
    chains = [row["chain"] for row in rows if "chain" in row]
    found = []
    for chain in chains:
        if chain.get("policy") == "drop" and chain.get("hook") in HOOKS and chain["table"] != table:
            names = {one["name"] for one in chains if one["table"] == chain["table"]}
            remedies = [text for mark, text in REMEDIES.items() if mark in names]
            where = f"{chain['family']} {chain['table']} {chain['name']}"
            remedy = "; ".join(remedies).format(bridge=bridge)
            found.append(Dropper(where, chain["hook"], remedy))
    return found
