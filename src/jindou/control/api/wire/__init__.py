"""HTTP in front of the engine: routes, content types, streams, and what is passed on to nodes."""
