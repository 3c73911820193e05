"""The machine's edges: system calls, processes, netlink, nftables, mounts, cgroups."""
