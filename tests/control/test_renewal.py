"""Certificates from the settings, and kubeconfigs that are told of new ones."""

from __future__ import annotations

import asyncio
import datetime
import os
import ssl

import yaml

from jindou.client import kubeconfig
from jindou.control.api.access import certificates, renewal
from jindou.settings import Settings
from jindou.transport.tls import follow, server_context


def cloud(tmp_path) -> Settings:
    return Settings(data=str(tmp_path), node_name="here")


def test_what_is_there_stays_and_what_is_due_is_made_anew(tmp_path):
    settings = cloud(tmp_path)
    assert set(renewal.ensure(settings)) == {
        "ca",
        "service-accounts",
        "server",
        "admin",
        "node",
        "proxy",
        "front-proxy",
    }
    assert renewal.ensure(settings) == []
    key = (renewal.folder(settings) / "admin.key").read_text()
    assert key.startswith("-----BEGIN EC PRIVATE KEY-----")  # fabric8 takes any other for RSA
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=300)
    made = certificates.ensure(renewal.folder(settings), renewal.wanted(settings), later)
    assert set(made) == {"server", "admin", "node", "proxy"}


def test_a_kubeconfig_that_knows_us_is_refreshed_and_others_are_left(tmp_path):
    settings = cloud(tmp_path)
    renewal.ensure(settings)
    user = str(tmp_path / "config")
    other = {"name": "other", "cluster": {"server": "https://elsewhere"}}
    before = {"clusters": [other], "contexts": [], "users": [], "current-context": "other"}
    ours = yaml.safe_load((renewal.folder(settings) / "admin.kubeconfig").read_text())
    kubeconfig.write(user, kubeconfig.merge(before, ours), (os.getuid(), os.getgid()))
    (tmp_path / "kubeconfigs").write_text(f"{user}\n{tmp_path}/gone\n")
    (renewal.folder(settings) / "admin.crt").unlink()
    assert renewal.ensure(settings) == ["admin"]
    after = kubeconfig.read(user)
    assert after["current-context"] == "other"
    assert other in after["clusters"]
    told = {entry["name"]: entry["user"] for entry in after["users"]}["jindou"]
    fresh = yaml.safe_load((renewal.folder(settings) / "admin.kubeconfig").read_text())
    assert told == fresh["users"][0]["user"]


def test_a_renewed_certificate_is_loaded_by_who_follows_it(tmp_path):
    settings = cloud(tmp_path)
    renewal.ensure(settings)
    pki = renewal.folder(settings)
    files = str(pki / "node.crt"), str(pki / "node.key")
    context = server_context(*files)

    async def serial() -> str:
        async def nothing(reader, writer) -> None:
            writer.close()

        server = await asyncio.start_server(nothing, "127.0.0.1", 0, ssl=context)
        async with server:
            trust = ssl.create_default_context(cafile=str(pki / "ca.crt"))
            port = server.sockets[0].getsockname()[1]
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trust, server_hostname="localhost"
            )
            found = str(writer.get_extra_info("peercert")["serialNumber"])
            writer.close()
            await writer.wait_closed()
            return found

    async def main() -> None:
        following = asyncio.create_task(follow(files, context, every=0.01))
        before = await serial()
        (pki / "node.crt").unlink()
        renewal.ensure(settings)
        async with asyncio.timeout(5):
            while await serial() == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        following.cancel()

    asyncio.run(main())
