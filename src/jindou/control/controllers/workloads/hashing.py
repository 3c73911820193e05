"""The hash of a pod template: FNV-1a of 32 bits, in letters that spell no words.

Source: http://www.isthe.com/chongo/tech/comp/fnv/
"""

from __future__ import annotations

import orjson

from jindou.objects.kinds import Object

LETTERS = "bcdfghjklmnpqrstvwxz2456789"
MASK = (1 << 32) - 1


def fnv1a(data: bytes) -> int:
    found = 0x811C9DC5
    for byte in data:
        found = ((found ^ byte) * 0x01000193) & MASK
    return found


def safe_encode(text: str) -> str:
    return "".join(LETTERS[ord(letter) % len(LETTERS)] for letter in text)


def template_hash(template: Object, collisions: int | None = None) -> str:
    """Other templates have other hashes, up to a collision, which `collisions` counts."""
    data = orjson.dumps(template, option=orjson.OPT_SORT_KEYS)
    if collisions is not None:
        data += collisions.to_bytes(8, "little")
    return safe_encode(str(fnv1a(data)))
