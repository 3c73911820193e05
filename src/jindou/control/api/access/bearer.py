"""The token that comes with a request: in its Authorization header, or, where a browser opens a
WebSocket and can't set one, as a subprotocol beside the one that is spoken.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#putting-a-bearer-token-in-a-request
"""

from __future__ import annotations

import base64
import binascii

from jindou.objects.errors import Unauthorized
from jindou.transport import Request, websocket

PROTOCOL = "base64url.bearer.authorization.k8s.io."


def token_of(request: Request) -> str:
    """ "" where there is none; raises Unauthorized where it can't be read."""
    header = request.headers.get("authorization", "")
    if header[:7].lower() == "bearer ":
        return header[7:].strip()
    if "sec-websocket-protocol" not in request.headers:
        return ""
    offered = websocket.offered(request)
    given = [name.removeprefix(PROTOCOL) for name in offered if name.startswith(PROTOCOL)]
    if not given:
        return ""
    if len(given) > 1 or len(given) == len(offered):
        raise Unauthorized("Unauthorized")
    try:
        text = given[0]
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        raise Unauthorized("Unauthorized") from None
