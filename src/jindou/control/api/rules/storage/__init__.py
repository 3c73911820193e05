"""Rules of storage that is asked for, and of storage that is there."""
