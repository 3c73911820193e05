"""Deployments and the replica sets below them: how many Pods of which template."""
