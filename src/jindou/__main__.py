"""`python -m jindou` and the `jindou` command."""

from __future__ import annotations


def main() -> int:
    raise SystemExit("not built yet")


if __name__ == "__main__":
    raise SystemExit(main())
