"""Deployments over ReplicaSets, and ReplicationControllers: as many Pods as asked for, moved from template to template."""
