"""How deep an object may be: no deeper than it can be written out, which is told where it is written.

Bodies are that shallow when they have been read; patches, managed fields and reviews make them deeper.
"""

from __future__ import annotations

from typing import Any

import orjson

from jindou.objects.errors import BadRequest

TOO_DEEP = "Recursion limit"


def dumps(value: Any, option: int | None = None) -> bytes:
    """As orjson's, whose errors are plain TypeErrors."""
    try:
        return orjson.dumps(value, option=option)
    except TypeError as error:
        if TOO_DEEP in str(error):
            raise BadRequest("the object is nested too deeply") from None
        raise
