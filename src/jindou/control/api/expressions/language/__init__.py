"""CEL itself: its values, operators and functions with those of Kubernetes, the checked tree, and what evaluates it."""
