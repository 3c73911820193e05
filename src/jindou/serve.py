"""The whole cloud, wired. The only file that imports everything; read it to see what runs."""

from __future__ import annotations
