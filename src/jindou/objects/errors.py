"""Every error a user can see; each edge (HTTP, Docker, EC2, CLI) maps these once.

The classes are the categories of the Kubernetes API conventions ("reason" and HTTP code of a
Status). A new error is a sentence, not a class. `details` is the `details` of the Status:
name, group, kind (the plural), uid, causes, retryAfterSeconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Fault(NamedTuple):
    """One broken rule of one field, as a Status carries it in `details.causes`."""

    reason: str  # FieldValueRequired, FieldValueInvalid, FieldValueNotSupported, FieldValueForbidden, ...
    message: str  # 'Required value', 'Invalid value: "x": must be ...'
    field: str  # spec.containers[0].name


class CloudError(Exception):
    """Something was refused or failed, for a reason that the caller can act on."""

    code = 500
    reason = "InternalError"
    warnings: Sequence[str] = ()  # what the caller is to be told besides

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})


class BadRequest(CloudError):
    code, reason = 400, "BadRequest"


class Unauthorized(CloudError):
    code, reason = 401, "Unauthorized"


class Forbidden(CloudError):
    code, reason = 403, "Forbidden"


class NotFound(CloudError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(CloudError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(CloudError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(CloudError):
    code, reason = 409, "AlreadyExists"


class Conflict(CloudError):
    """Someone else wrote first: read again and retry."""

    code, reason = 409, "Conflict"


class Expired(CloudError):
    """A watch or a page token is older than the history window: list again."""

    code, reason = 410, "Expired"


class TooLarge(CloudError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(CloudError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(CloudError):
    """The object breaks rules of its kind; `faults` says which fields and how."""

    code, reason = 422, "Invalid"

    def __init__(
        self, message: str, details: Mapping[str, Any] | None = None, faults: Sequence[Fault] = ()
    ) -> None:
        super().__init__(message, details)
        self.faults = list(faults)


class TooManyRequests(CloudError):
    code, reason = 429, "TooManyRequests"


class InternalError(CloudError):
    pass


class Unknown(CloudError):
    """A write whose outcome is not known: it may or may not have happened. Read before retrying."""

    code, reason = 500, "InternalError"


class Unavailable(CloudError):
    """Try later; `details["retryAfterSeconds"]` says when."""

    code, reason = 503, "ServiceUnavailable"


class Timeout(CloudError):
    code, reason = 504, "Timeout"
