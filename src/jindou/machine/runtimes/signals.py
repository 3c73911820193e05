"""Signals by the names that people write: SIGTERM, TERM, 15, RTMIN+3."""

from __future__ import annotations

import re
import signal


def signal_number(text: str) -> int:
    """The number; SIGTERM for nothing, and for a name that means none here."""
    name = text.strip().upper().removeprefix("SIG")
    if name.isdigit():
        return int(name) if 0 < int(name) < signal.NSIG else signal.SIGTERM
    if match := re.fullmatch(r"RT(MIN|MAX)(?:([+-])(\d+))?", name):
        start = signal.SIGRTMIN if match[1] == "MIN" else signal.SIGRTMAX
        number = start + int((match[2] or "+") + (match[3] or "0"))
        return number if signal.SIGRTMIN <= number <= signal.SIGRTMAX else signal.SIGTERM
    return signal.Signals.__members__.get(f"SIG{name}", signal.SIGTERM)
