"""The upper floors, each on the public API only: apps from `git push`, pipelines, catalogue, transactions."""
