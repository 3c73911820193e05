"""Measures Jindou beside floors and peers, in turn in one run, and prints ratios. `make bench` runs all."""
