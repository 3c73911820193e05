"""Admission policies: rules of users about every write, as expressions that the API itself evaluates."""
