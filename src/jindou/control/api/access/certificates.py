"""Our own certificate authority, and every certificate that the cloud uses, kept valid by themselves.

    pki/ca.crt ca.key                the authority (ECDSA P-256, ten years)
        server.crt .key              the API's, for its addresses and names
        admin.crt .key .kubeconfig   kubernetes-admin, group system:masters
        node.crt .key                the node's, as client and as server: system:node:NAME
        proxy.crt .key               the API towards the node
        service-accounts.key         signs the tokens of service accounts
    front-proxy/ca.crt ca.key    another authority, for this server towards those behind it:
        client.crt .key          front-proxy-client

A leaf lives a year and is renewed when two thirds of that have passed; `ensure` may be called at any
time and changes only what is missing, due, or made for other names. Files appear whole (written
aside and renamed), private ones with mode 0600. `cryptography` is imported only when something has
to be made.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import ssl
from pathlib import Path
from typing import Any, NamedTuple

YEAR = datetime.timedelta(days=365)
CA_LIFE = 10 * YEAR
EARLY = datetime.timedelta(days=1)  # by which a clock may be put back and all stays valid


class Leaf(NamedTuple):
    """What a certificate is for; a change of it makes a new one."""

    name: str  # of the files
    common_name: str
    organizations: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # DNS names and addresses that it serves; () for a client only


FRONT_PROXY = "front-proxy"
FRONT_PROXY_CLIENT = "front-proxy-client"


def ensure_front_proxy(folder: Path) -> list[str]:
    """Servers behind this one believe whoever bears this certificate who a request is from: its
    authority signs nothing else."""
    own, now = folder / FRONT_PROXY, datetime.datetime.now(datetime.UTC)
    own.mkdir(mode=0o711, parents=True, exist_ok=True)
    new = not (own / "ca.crt").exists()
    if new:
        _make_authority(own, now)
    leaf = Leaf("client", FRONT_PROXY_CLIENT)
    if not new and not _is_due(own, leaf, now):
        return []
    _make_leaf(own, leaf, now)
    return [FRONT_PROXY]


def leaves(node_name: str, addresses: tuple[str, ...], domain: str) -> list[Leaf]:
    service = (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{domain}",
    )
    return [
        Leaf("server", "kube-apiserver", (), ("localhost", node_name, *service, *addresses)),
        Leaf("admin", "kubernetes-admin", ("system:masters",)),
        Leaf(
            "node",
            f"system:node:{node_name}",
            ("system:nodes",),
            (node_name, "localhost", *addresses),
        ),
        Leaf("proxy", "kube-apiserver-kubelet-client", ("system:masters",)),
    ]


def due(issued: datetime.datetime, expires: datetime.datetime, now: datetime.datetime) -> bool:
    """Is it time for a new one? After two thirds of its life, or when the clock says it is not yet valid."""
    return (
        now < issued - datetime.timedelta(minutes=10) or now >= issued + (expires - issued) * 2 / 3
    )


def ensure(folder: Path, wanted: list[Leaf], now: datetime.datetime | None = None) -> list[str]:
    """Make what is missing or due; returns the names of what was made."""
    now = now or datetime.datetime.now(datetime.UTC)
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    made = []
    if not (folder / "ca.crt").exists():
        _make_authority(folder, now)
        made.append("ca")
    if not (folder / "service-accounts.key").exists():
        _make_token_key(folder)
        made.append("service-accounts")
    for leaf in wanted:
        if "ca" in made or _is_due(folder, leaf, now):
            _make_leaf(folder, leaf, now)
            made.append(leaf.name)
    return made


def next_renewal(folder: Path, wanted: list[Leaf]) -> datetime.datetime:
    times = [_life(folder / f"{leaf.name}.crt") for leaf in wanted]
    return min(issued + (expires - issued) * 2 / 3 for issued, expires in times)


def _life(path: Path) -> tuple[datetime.datetime, datetime.datetime]:
    """notBefore and notAfter, read with the standard library."""
    decoded: dict[str, Any] = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]
    begin, end = (ssl.cert_time_to_seconds(decoded[k]) for k in ("notBefore", "notAfter"))
    return (
        datetime.datetime.fromtimestamp(begin, datetime.UTC),
        datetime.datetime.fromtimestamp(end, datetime.UTC),
    )


def _is_due(folder: Path, leaf: Leaf, now: datetime.datetime) -> bool:
    try:
        kept = json.loads((folder / f"{leaf.name}.for").read_text())
        issued, expires = _life(folder / f"{leaf.name}.crt")
    except (OSError, ValueError, ssl.SSLError):
        return True
    return (
        kept != json.loads(json.dumps(leaf))
        or due(issued, expires, now)
        or not (folder / f"{leaf.name}.key").exists()
    )


def _key_pem(key: Any) -> bytes:
    """`EC PRIVATE KEY`, as client-go writes it: clients in Java take any other header for RSA."""
    from cryptography.hazmat.primitives import serialization as s

    form = s.PrivateFormat.TraditionalOpenSSL
    pem: bytes = key.private_bytes(s.Encoding.PEM, form, s.NoEncryption())
    return pem


def _make_authority(folder: Path, now: datetime.datetime) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("jindou", ())
    certificate = (
        _builder(name, name, key.public_key(), now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write(folder / "ca.key", _key_pem(key), 0o600)
    write(folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _make_token_key(folder: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    write(folder / "service-accounts.key", _key_pem(ec.generate_private_key(ec.SECP256R1())), 0o600)


def _make_leaf(folder: Path, leaf: Leaf, now: datetime.datetime) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(
            _name(leaf.common_name, leaf.organizations),
            authority.subject,
            key.public_key(),
            now,
            YEAR,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if leaf.names:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names = [_general_name(name) for name in dict.fromkeys(leaf.names)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False).sign(
        signer, hashes.SHA256()
    )
    write(folder / f"{leaf.name}.key", _key_pem(key), 0o600)
    write(folder / f"{leaf.name}.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    write(folder / f"{leaf.name}.for", json.dumps(leaf).encode(), 0o644)


def _general_name(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str, organizations: tuple[str, ...]) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: Any, issuer: Any, key: Any, now: datetime.datetime, life: datetime.timedelta
) -> Any:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLY)
        .not_valid_after(now + life)
    )


def _usage(sign: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=sign, crl_sign=sign, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def write(path: Path, data: bytes, mode: int) -> None:
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def kubeconfig(folder: Path, name: str, url: str, leaf: str = "admin") -> dict[str, Any]:
    """A kubeconfig with everything embedded: cluster, context and user are called `name`."""

    def data(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": url, "certificate-authority-data": data("ca.crt")}}
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": data(f"{leaf}.crt"),
                    "client-key-data": data(f"{leaf}.key"),
                },
            }
        ],
        "current-context": name,
    }
