"""Certificates of this cloud from its settings, made anew in time, and the kubeconfigs that hold one.

The server makes all of them, the node's as well, which loads what was renewed (`transport.tls.follow`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from pathlib import Path

import yaml

from jindou.client import kubeconfig
from jindou.control.api.access import certificates
from jindou.control.api.access.certificates import Leaf
from jindou.settings import Settings
from jindou.transport.tls import server_context

log = logging.getLogger("jindou.certificates")
LOOK = 12 * 3600.0  # seconds between looks


def folder(settings: Settings) -> Path:
    return Path(settings.data) / "pki"


def wanted(settings: Settings) -> list[Leaf]:
    addresses = dict.fromkeys(
        ("127.0.0.1", "::1", settings.api_address, *settings.gateways, *settings.first_services)
    )
    return certificates.leaves(settings.node, tuple(addresses), settings.cluster_domain)


def ensure(settings: Settings) -> list[str]:
    """Make what is missing or due, and tell the kubeconfigs; returns the names of what was made."""
    made = certificates.ensure(folder(settings), wanted(settings))
    made += certificates.ensure_front_proxy(folder(settings))
    write_kubeconfigs(settings)
    return made


def context(settings: Settings) -> ssl.SSLContext:
    """For the API's sockets: a client certificate is asked for, and verified where one is given."""
    pki = folder(settings)
    return server_context(str(pki / "server.crt"), str(pki / "server.key"), str(pki / "ca.crt"))


async def renew(settings: Settings, tls: ssl.SSLContext) -> None:
    """What comes near its end is made anew; new connections see it."""
    pki = folder(settings)
    while True:
        await asyncio.sleep(LOOK)
        if made := ensure(settings):
            tls.load_cert_chain(str(pki / "server.crt"), str(pki / "server.key"))
            log.info("certificates renewed: %s", ", ".join(made))


def write_kubeconfigs(settings: Settings) -> None:
    """The administrator's, and our entry in those of users that were given one."""
    pki = folder(settings)
    ours = certificates.kubeconfig(pki, settings.name, settings.url)
    certificates.write(pki / "admin.kubeconfig", yaml.safe_dump(ours).encode(), 0o600)
    try:
        known = (Path(settings.data) / "kubeconfigs").read_text().splitlines()
    except OSError:
        return
    for path in known:
        with contextlib.suppress(OSError, kubeconfig.Unreadable):
            owner = os.stat(path)
            before = kubeconfig.read(path)
            merged = kubeconfig.merge(before, ours)
            if merged != before and settings.name in str(before):
                kubeconfig.write(path, merged, (owner.st_uid, owner.st_gid))
