"""What all controllers rest on: the queue and who runs it, events, conditions, owners, facts of Pods, times."""
