"""Whoever makes Pods from a template: deployments, stateful sets, daemon sets, jobs, cron jobs."""
