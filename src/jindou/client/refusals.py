"""What a server's refusal means: its Status, as an error of `jindou.objects.errors`."""

from __future__ import annotations

from typing import Any

import orjson

from jindou.objects import errors
from jindou.objects.errors import CloudError, Fault, Invalid

REASONS: tuple[type[CloudError], ...] = (
    errors.BadRequest,
    errors.Unauthorized,
    errors.Forbidden,
    errors.NotFound,
    errors.MethodNotAllowed,
    errors.NotAcceptable,
    errors.AlreadyExists,
    errors.Conflict,
    errors.Expired,
    errors.TooLarge,
    errors.UnsupportedMediaType,
    errors.TooManyRequests,
    errors.InternalError,
    errors.Unavailable,
    errors.Timeout,
)
BY_REASON: dict[str, type[CloudError]] = {kind.reason: kind for kind in REASONS} | {
    "Gone": errors.Expired,
    "ServerTimeout": errors.Unavailable,
}
BY_CODE: dict[int, type[CloudError]] = {
    kind.code: kind for kind in REASONS if kind is not errors.AlreadyExists
} | {409: errors.Conflict, 500: errors.InternalError, 502: errors.Unavailable}


def error_of(code: int, body: bytes, status: dict[str, Any] | None = None) -> CloudError:
    """From the HTTP code and the body, which should be a Status and may be anything."""
    if status is None:
        try:
            loaded = orjson.loads(body)
        except orjson.JSONDecodeError:
            loaded = None
        status = loaded if isinstance(loaded, dict) else {}
    text = body[:200].decode("utf-8", "replace").strip()
    message = status.get("message") or text or f"the server answered {code}"
    reason, details = status.get("reason", ""), status.get("details") or {}
    if reason == "Invalid" or (not reason and code == 422):
        faults = [
            Fault(cause.get("reason", ""), cause.get("message", ""), cause.get("field", ""))
            for cause in details.get("causes") or ()
        ]
        rest = {name: value for name, value in details.items() if name != "causes"}
        return Invalid(message, rest, faults)
    return (BY_REASON.get(reason) or BY_CODE.get(code, CloudError))(message, details)
