"""Rules of the kinds that make Pods, and of those that scale, bound and class them."""
