"""JSON for people: indented where the query asks for it, and for browsers, curl and Wget.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-parameters/common-parameters/#pretty
"""

from __future__ import annotations

import orjson

from jindou.control.api.engine.calls import one
from jindou.transport import Request, Response

TRUE = ("1", "t", "T", "TRUE", "true", "True")
BY_HAND = ("curl", "Wget", "Mozilla/5.0")


def wanted(request: Request) -> bool:
    if "pretty=" in request.raw_path and (asked := one(request.query, "pretty")):
        return asked in TRUE
    return request.headers.get("user-agent", "").startswith(BY_HAND)


def indent(answer: Response) -> None:
    """In place; what is no JSON, or packed, stays."""
    named = {name.lower(): value for name, value in answer.headers}
    if named.get("content-type") != "application/json" or "content-encoding" in named:
        return
    body = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
    answer.body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
