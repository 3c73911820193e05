"""What nodes and Pods use (metrics.k8s.io): asked of the nodes when somebody asks, and at no other time."""
