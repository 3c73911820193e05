"""How a patch changes an object: JSON, merge, strategic and server-side apply, as pure functions."""
