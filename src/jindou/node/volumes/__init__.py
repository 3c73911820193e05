"""What a Pod's containers are given: volumes, mounts, environment, and what it knows of itself."""
