"""The Kubernetes-compatible HTTP API: discovery, CRUD, patch, watch, admission, access."""
