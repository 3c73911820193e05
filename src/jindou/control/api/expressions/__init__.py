"""CEL, the expressions of users: compiled by a library, with Kubernetes' functions, within bounds of cost and time."""
