"""A whole cloud on a machine you own.

Read in this order: objects (what can be asked for), control (what was asked for), machine (what
there is), node (makes the second match the first).
"""

__version__ = "0.1.0"
