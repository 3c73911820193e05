"""The two forms of time that objects hold: whole seconds (Time), and exactly six digits more (MicroTime).

Both are told in UTC. What can't be read is refused in the words of the original's decoder.
Source: RFC 3339; https://pkg.go.dev/k8s.io/apimachinery/pkg/apis/meta/v1
"""

from __future__ import annotations

import datetime
import re
from functools import lru_cache

SECONDS, MICROSECONDS = "2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.000000Z07:00"
CANONICAL = {
    False: re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
    True: re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"),
}
PARTS = (
    (r"\d{4}", "2006"), ("-", "-"), (r"\d\d", "01"), ("-", "-"), (r"\d\d", "02"), ("T", "T"),
    (r"\d\d", "15"), (":", ":"), (r"\d\d", "04"), (":", ":"), (r"\d\d", "05"),
)  # fmt: skip
ZONE = (r"Z|[+-]\d\d:\d\d$", "Z07:00")
LIMITS = ((5, 7, 12, "month"), (11, 13, 23, "hour"), (14, 16, 59, "minute"), (17, 19, 59, "second"))


def is_canonical(text: str, micro: bool) -> bool:
    """Is it written as it would be told?"""
    return CANONICAL[micro].fullmatch(text) is not None and _exists(text)


@lru_cache(1024)
def fault(text: str, micro: bool) -> str:
    """Why it is no time, or ""."""
    layout = MICROSECONDS if micro else SECONDS
    fraction = (r"\.\d{6}", ".000000") if micro else (r"(?:\.\d+)?", "")
    rest = text
    for pattern, part in (*PARTS, fraction, ZONE):
        found = re.match(pattern, rest)
        if found is None:
            return f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{part}"'
        rest = rest[found.end() :]
    if rest:
        return f'parsing time "{text}": extra text: "{rest}"'
    for start, end, most, name in LIMITS:
        if int(text[start:end]) > most or (name == "month" and text[start:end] == "00"):
            return f'parsing time "{text}": {name} out of range'
    return "" if _exists(text) else f'parsing time "{text}": day out of range'


def _exists(text: str) -> bool:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def canonical(text: str, micro: bool) -> str:
    """In UTC and with as many digits as the form has; of a text without a fault."""
    if CANONICAL[micro].fullmatch(text):
        return text
    try:
        moment = datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    except OverflowError:  # the zone moves it out of the years that can be told
        return text
    told = moment.replace(tzinfo=None).isoformat(timespec="microseconds" if micro else "seconds")
    return f"{told}Z"
