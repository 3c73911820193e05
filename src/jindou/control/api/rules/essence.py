"""What of a Pod's spec is not free text: specs alike in that are judged alike, and have the same fields.

Most new specs differ from earlier ones in values of variables, arguments, a tag, or the name that
the volume of their token was given. No rule reads those, but for whether they are there. What must stay
true: where a rule of containers comes to look at one of these texts, the text is left in here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Any, Generic, TypeVar

import orjson

from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

Value = TypeVar("Value")
MOST = 512
LONGEST = 16 * 1024  # bytes of an essence that is remembered
CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
TOKEN_VOLUME = "kube-api-access-"


class Remembered(Generic[Value]):
    """The last results, by what they were worked out from."""

    def __init__(self, most: int = MOST) -> None:
        self._held: OrderedDict[Any, Value] = OrderedDict()
        self._most = most

    def get(self, key: Any) -> Value | None:
        return self._held.get(key)

    def keep(self, key: Any, value: Value) -> None:
        self._held[key] = value
        if len(self._held) > self._most:
            self._held.popitem(last=False)


def essence(spec: Object) -> bytes | None:
    """None where it is too long, or no JSON."""
    seen = dict(spec)
    for part in CONTAINERS:
        if held := spec.get(part):
            seen[part] = [_container(container) for container in held]
    try:
        found = orjson.dumps(seen)
    except TypeError:
        return None
    if len(found) > LONGEST:
        return None
    for volume in spec.get("volumes") or ():
        name = volume.get("name") or ""
        if name.startswith(TOKEN_VOLUME) and name.isascii():
            return found.replace(b'"%s"' % name.encode(), b'"\0"')
    return found


def _container(container: Object) -> Object:
    """The texts are replaced by what is still of interest; no text of JSON has the same form."""
    seen = dict(container)
    if env := container.get("env"):
        names = {entry.get("name") for entry in env}
        if len(names) == len(env):  # or the values are of interest
            seen["env"] = [_variable(entry) for entry in env]
    for name in ("args", "command"):
        if name in container:
            seen[name] = bool(container[name])
    image = container.get("image")
    if image and image == image.strip():
        seen["image"] = True
    return seen


def _variable(entry: Object) -> Any:
    if len(entry) == 2 and entry.get("value") and "name" in entry:
        return [entry["name"]]
    return entry


def remembered(rule: Callable[[Object, str], list[Fault]]) -> Callable[[Object, str], list[Fault]]:
    """The same rule; what had no fault, and another spec like it, is not judged again."""
    good: Remembered[bool] = Remembered()

    @wraps(rule)
    def judged(spec: Object, at: str) -> list[Fault]:
        key = essence(spec)
        if key is not None and good.get(key):
            return []
        found = rule(spec, at)
        if key is not None and not found:
            good.keep(key, True)
        return found

    return judged
