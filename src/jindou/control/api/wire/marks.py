"""What every answer carries: an Audit-Id by which it can be found again, and the Date.

An id is a part that chance gave this process, and a count, which is cheaper than chance.
"""

from __future__ import annotations

import time
import uuid
from email.utils import formatdate

from jindou.transport import Headers, Request

LONGEST = 64  # of an id that a client gives


class Marks:
    def __init__(self) -> None:
        self._lead = str(uuid.uuid4())[:24]
        self._count = 0
        self._second = 0
        self._date = ("Date", "")

    def on(self, request: Request, headers: Headers, ours: bool) -> Headers:
        """`ours` says that the headers hold no Date: those of servers behind us may."""
        audit = request.headers.get("audit-id", "")[:LONGEST]
        if not audit:
            self._count += 1
            audit = f"{self._lead}{self._count:012x}"
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, ("Date", formatdate(second, usegmt=True))
        if ours or all(name.lower() != "date" for name, _ in headers):
            return (*headers, ("Audit-Id", audit), self._date)
        return (*headers, ("Audit-Id", audit))
