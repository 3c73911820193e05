"""`python -m bench [NAME...]`: start, rest, pods, network, services, api, peers. Without a name, all of them."""

from __future__ import annotations

import os
import platform
import sys

from bench import api, network, peers, pods, rest, services, start
from bench.table import Table

BENCHES = {
    "start": start,
    "rest": rest,
    "pods": pods,
    "network": network,
    "services": services,
    "api": api,
    "peers": peers,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"no bench is called {unknown[0]}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    if os.getuid():
        print("the benches run containers and change packet rules: they need root", file=sys.stderr)
        return 4
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    print(
        f"{os.cpu_count()} cores, {memory} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}\n"
    )
    for name in names or BENCHES:
        table = Table(name, BENCHES[name].__doc__ or "")
        try:
            BENCHES[name].run(table)
        finally:
            table.print()  # what was measured, though the rest may have failed
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
