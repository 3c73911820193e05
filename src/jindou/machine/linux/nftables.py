"""Packet rules by libnftables, in this process: one context, one transaction a call.

A transaction happens as a whole or not at all. A small one takes about 0.15 ms, whatever the size
of the maps it touches; starting the `nft` program would take 4. Calls block and belong to the
network namespace of the calling thread (the socket is made at the first call and kept).

Sources: libnftables(3), libnftables-json(5), nft(8).
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import orjson

JSON_OUTPUT = 16


class NftablesError(Exception):
    """The library or the kernel refused a transaction; nothing of it happened."""


class Nftables:
    """A context of libnftables. Not to be shared by network namespaces."""

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL("libnftables.so.1")
        except OSError as error:
            raise NftablesError(f"libnftables is missing: {error}") from None
        library.nft_ctx_new.restype = ctypes.c_void_p
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).restype = ctypes.c_char_p
        self._library = library
        self._context: ctypes.c_void_p | None = None
        self._lock = threading.Lock()

    def run(self, commands: str) -> None:
        """One transaction, in the words of nft(8)."""
        self._execute(commands.encode(), 0)

    def read(self, commands: str) -> list[dict[str, Any]]:
        """The answer to a `list` command, as libnftables-json(5) has it."""
        answer = self._execute(commands.encode(), JSON_OUTPUT)
        return list(orjson.loads(answer)["nftables"]) if answer.strip() else []

    def close(self) -> None:
        with self._lock:
            if self._context:
                self._library.nft_ctx_free(self._context)
                self._context = None

    def _execute(self, commands: bytes, flags: int) -> bytes:
        library = self._library
        with self._lock:
            if self._context is None:
                self._context = ctypes.c_void_p(library.nft_ctx_new(0))
                library.nft_ctx_buffer_output(self._context)
                library.nft_ctx_buffer_error(self._context)
            library.nft_ctx_output_set_flags(self._context, flags)
            failed = library.nft_run_cmd_from_buffer(self._context, commands)
            said = library.nft_ctx_get_output_buffer(self._context) or b""
            if failed:
                error = library.nft_ctx_get_error_buffer(self._context) or b""
                raise NftablesError(_first_complaint(error.decode(errors="replace")))
            return bytes(said)


def _first_complaint(text: str) -> str:
    """The library repeats each bad line with a row of carets; the first two lines say it."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" ^~\t")]
    return ": ".join(lines[:2])[:500] or "the kernel refused the transaction"
