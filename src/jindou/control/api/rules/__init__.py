"""What the schema cannot say: defaults, validation and immutability of the built-in kinds, as pure functions."""
