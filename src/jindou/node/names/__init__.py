"""The parts of the DNS server: packets, the cluster's own zone, other names, and /etc/resolv.conf."""
