"""From the bytes of a layer to files: compression, tar, and a walk that never leaves its root."""
