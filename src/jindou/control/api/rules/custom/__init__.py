"""Rules of custom kinds: their definitions, their schemas, and objects held against these."""
