"""The frame of our one nftables table; `services` fills its maps.

                 from a unit or from outside            from this machine
    dstnat - 10  prerouting ─┐                          output ─┐
                             ├─ balance: services, then (for addresses of this machine) host and
                             │           node ports; one map lookup each, whatever their number
    filter       forward, input, output: what still goes to a service address, or to one that has
                                         no endpoints now, is refused at once
    srcnat       postrouting: units leave by the machine's address; so do a unit that reached
                                         itself through a service, 127.0.0.1, and whoever reached
                                         an endpoint outside, which has to answer through us

A map leads to the chain of its number of endpoints (nN, for node ports pN), shared by all services
with as many: it draws a slot and looks up the endpoint there. So services and endpoints are map
elements only, and a change is a handful of elements. Services with affinity have a chain each.

We never touch another table; our chains run before those of Docker, firewalld and ufw.
"""

from __future__ import annotations

from typing import NamedTuple

PORT = "meta l4proto . th dport"


class Frame(NamedTuple):
    """What the fixed part depends on. Equal frames make equal tables."""

    table: str
    bridge: str
    networks: tuple[str, ...]  # of units, IPv4 then IPv6
    services: tuple[str, ...]  # of service addresses


def ip(network: str) -> str:
    return "ip6" if ":" in network else "ip"


def frame(frame: Frame, reach: int) -> str:
    """Commands that make the table anew: with what was in it before gone, in one transaction.

    `reach` is the largest number of endpoints with a chain. They are all made here: libnftables
    1.0.6 can't refer later to a map whose data has a port of whatever protocol.
    """
    chains = _chains(frame) + "".join(_spread(number) for number in range(1, reach + 1))
    maps = "".join(_maps(version) for version in (4, 6))
    name = f"inet {frame.table}"
    return f"add table {name}\ndelete table {name}\ntable {name} {{\n{maps}{chains}}}\n"


def _maps(version: int) -> str:
    word = "ip" if version == 4 else "ip6"
    kind = "ipv4_addr" if version == 4 else "ipv6_addr"
    slot = "numgen random mod 2"  # only its type counts
    return f"""
    map services{version} {{ type {kind} . inet_proto . inet_service : verdict; }}
    map endpoints{version} {{ typeof {word} daddr . {PORT} . {slot} : {word} daddr . th dport; }}
    map nodeports{version} {{ type inet_proto . inet_service : verdict; }}
    map node_endpoints{version} {{ typeof {PORT} . {slot} : {word} daddr . th dport; }}
    set refused{version} {{ type {kind} . inet_proto . inet_service; }}
    set refused_ports{version} {{ type inet_proto . inet_service; }}
    set hairpin{version} {{ type {kind} . {kind}; }}
"""


def _spread(number: int) -> str:
    """The shared chains for so many endpoints: a random one of the packet's own service."""
    draw = f"{PORT} . numgen random mod {number}"
    return f"""
    chain n{number} {{
        meta nfproto ipv4 dnat ip to ip daddr . {draw} map @endpoints4
        meta nfproto ipv6 dnat ip6 to ip6 daddr . {draw} map @endpoints6
    }}
    chain p{number} {{
        meta nfproto ipv4 dnat ip to {draw} map @node_endpoints4
        meta nfproto ipv6 dnat ip6 to {draw} map @node_endpoints6
    }}
"""


def _chains(frame: Frame) -> str:
    unused = "".join(f"        {ip(n)} daddr {n} goto refuse\n" for n in frame.services)
    leaving = "".join(
        f'        {ip(n)} saddr {n} {ip(n)} daddr != {n} oifname != {{ "{frame.bridge}", "lo" }} '
        "masquerade fully-random\n"
        for n in frame.networks
    )
    refused = f"""
        ip daddr . {PORT} @refused4 goto refuse
        ip6 daddr . {PORT} @refused6 goto refuse
{unused}"""
    return f"""
    chain balance {{
        ip daddr . {PORT} vmap @services4
        ip6 daddr . {PORT} vmap @services6
        fib daddr type != local return
        meta nfproto ipv4 {PORT} vmap @nodeports4
        meta nfproto ipv6 {PORT} vmap @nodeports6
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat - 10; policy accept;
        jump balance
    }}
    chain output_nat {{
        type nat hook output priority -110; policy accept;
        jump balance
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat - 10; policy accept;
        ct status dnat ip saddr . ip daddr @hairpin4 masquerade fully-random
        ct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade fully-random
        ip saddr 127.0.0.0/8 oifname "{frame.bridge}" masquerade fully-random
        ct status dnat oifname != {{ "{frame.bridge}", "lo" }} jump leaving
{leaving}    }}
    chain leaving {{
        ip daddr . ip daddr @hairpin4 masquerade fully-random
        ip6 daddr . ip6 daddr @hairpin6 masquerade fully-random
    }}
    chain refuse {{
        meta l4proto tcp reject with tcp reset
        reject with icmpx port-unreachable
    }}
    chain guard {{
        comment "with route_localnet, 127.0.0.0/8 must not be reached from outside"
        type filter hook prerouting priority raw; policy accept;
        iifname != "lo" ip daddr 127.0.0.0/8 drop
    }}
    chain forward {{
        type filter hook forward priority filter - 10; policy accept;
        ct state established,related accept
{refused}    }}
    chain input {{
        type filter hook input priority filter - 10; policy accept;
        ct status dnat accept
        {PORT} @refused_ports4 meta nfproto ipv4 goto refuse
        {PORT} @refused_ports6 meta nfproto ipv6 goto refuse
{refused}    }}
    chain output {{
        type filter hook output priority filter - 10; policy accept;
        oifname "{frame.bridge}" icmp type redirect drop
        oifname "{frame.bridge}" icmpv6 type nd-redirect drop
{refused}    }}
"""
