"""The life of each Pod on this machine: one worker for each, from its sandbox to its last record."""
