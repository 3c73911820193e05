"""TLS contexts: one for servers that may ask for a client certificate, one for clients of our own CA."""

from __future__ import annotations

import asyncio
import os
import ssl


def server_context(
    certificate: str, key: str, client_ca: str = "", *, required: bool = False, http2: bool = True
) -> ssl.SSLContext:
    """Paths of PEM files. With `client_ca`, a certificate is asked for, and verified if given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def client_context(
    ca: str = "", certificate: str = "", key: str = "", *, ca_data: str = ""
) -> ssl.SSLContext:
    """Verify against `ca` (a path) or `ca_data` (PEM text), or the system's authorities."""
    context = ssl.create_default_context(cafile=ca or None, cadata=ca_data or None)
    context.set_alpn_protocols(["http/1.1"])
    if certificate:
        context.load_cert_chain(certificate, key or None)
    return context


async def follow(files: tuple[str, str], *contexts: ssl.SSLContext, every: float = 3600.0) -> None:
    """Load a certificate and its key again whenever the file has changed; for ever."""
    used = os.stat(files[0]).st_mtime_ns
    while True:
        await asyncio.sleep(every)
        if (found := os.stat(files[0]).st_mtime_ns) != used:
            used = found
            for context in contexts:
                context.load_cert_chain(*files)
