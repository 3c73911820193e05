"""Rules of what a cluster has for all: rights, limits, nodes, certificates, webhooks."""
