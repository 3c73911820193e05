"""The words of the cloud: kinds, references, metadata, selectors, quantities and errors, as plain data."""
