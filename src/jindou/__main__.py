"""`python -m jindou` and the `jindou` command."""

from __future__ import annotations

from jindou.cli.commands import main

if __name__ == "__main__":
    raise SystemExit(main())
