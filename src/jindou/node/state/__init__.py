"""What a Pod is, what it has to become next, and what is told of it: decided from plain data."""
