"""The pulling side of a registry: manifests and blobs over HTTP, with tokens, patience and resumption.

Credentials go to the registry and to the token service that it names, never along a redirect to
another host. A transfer that breaks goes on where it stopped. Only a registry on this machine, or
one named insecure, is spoken to without TLS. Sources: the OCI distribution specification 1.1, the
token protocol of distribution/distribution.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import aclosing
from urllib.parse import urlencode, urljoin, urlsplit

import orjson

from jindou import __version__
from jindou.machine.images import Credentials, ImageError
from jindou.machine.images.content import manifests
from jindou.machine.images.content.blobs import LARGEST_DOCUMENT
from jindou.machine.images.content.manifests import Descriptor
from jindou.machine.images.references import HUB, Reference, is_digest
from jindou.transport.client import Pool
from jindou.transport.exchange import ClientResponse

ATTEMPTS = 5
FIRST_ATTEMPTS = 2  # where the registry has never answered
STALLED = 60.0
LONGEST_PAUSE = 30.0
MOST_REDIRECTS = 5
BUSY = frozenset({429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
ACCEPT = ", ".join((*manifests.INDEXES, *manifests.MANIFESTS))
CHALLENGE = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
HOSTS = {HUB: "registry-1.docker.io"}


class Registry:
    """One repository, for the time of one pull."""

    def __init__(
        self,
        pool: Pool,
        reference: Reference,
        credentials: Collection[Credentials] = (),
        *,
        insecure: Collection[str] = (),
        pause: float = 0.5,
    ) -> None:
        self._pool = pool
        self._reference = reference
        self._host = HOSTS.get(reference.registry, reference.registry)
        self._untried = [*credentials] or [Credentials()]
        self._credential = self._untried.pop(0)
        self._authorization = self._worked = ""
        if self._credential.token and not self._credential.username:
            self._authorization = f"Bearer {self._credential.token}"
        self._pause = pause
        self._plain = is_loopback(self._host) or reference.registry in insecure
        self._base = ""
        self._authorizing = asyncio.Lock()

    async def manifest(self, target: str) -> tuple[bytes, str]:
        """The bytes as they came, verified, and their media type."""
        response = await self._get(f"manifests/{target}", {"Accept": ACCEPT})
        if response.status != 200:
            raise await self._refusal(response, f"{self._reference.place}:{target}")
        data = await self._read(response)
        said = response.headers.get("docker-content-digest", "")
        expected = target if is_digest(target) else said if is_digest(said) else ""
        if expected:
            algorithm, _, value = expected.partition(":")
            if hashlib.new(algorithm, data).hexdigest() != value:
                raise ImageError(f"registry {self._host} sent a manifest that is not {expected}")
        media_type = response.headers.get("content-type", "").partition(";")[0].strip()
        return data, media_type if media_type not in ("", "application/json") else ""

    async def document(self, descriptor: Descriptor) -> bytes:
        """A small blob, verified."""
        if descriptor.size > LARGEST_DOCUMENT:
            raise ImageError(f"the configuration {descriptor.digest} is larger than it may be")
        parts = []
        async with aclosing(self.blob(descriptor)) as pieces:
            async for piece in pieces:
                parts.append(piece)
        data = b"".join(parts)
        algorithm, _, value = descriptor.digest.partition(":")
        if len(data) != descriptor.size or hashlib.new(algorithm, data).hexdigest() != value:
            raise ImageError(f"registry {self._host} sent a blob that is not {descriptor.digest}")
        return data

    async def blob(self, descriptor: Descriptor) -> AsyncGenerator[bytes, None]:
        """At least all of its bytes in order, over as many connections as it takes. The reader
        verifies them."""
        done = failures = 0
        while done < descriptor.size:
            headers = {"Range": f"bytes={done}-"} if done else {}
            response = await self._get(f"blobs/{descriptor.digest}", headers)
            if response.status not in (200, 206):
                raise await self._refusal(response, f"blob {descriptor.digest}")
            skip = done - _start(response)
            if skip < 0:
                response.close()
                raise ImageError(f"registry {self._host} answers another range than was asked for")
            before, ended = done, False
            why = "it sent less than it announced"
            try:
                async with aclosing(response.pieces()) as pieces:
                    while (piece := await self._next(pieces)) is not None:
                        fresh = piece[skip:]
                        skip = max(0, skip - len(piece))
                        done += len(fresh)
                        if fresh:
                            yield fresh
                    ended = True
            except (OSError, TimeoutError) as error:
                why = _reason(error)
            finally:
                if not ended:
                    response.close()
            if done < descriptor.size:
                failures = 0 if done > before else failures + 1
                if failures >= ATTEMPTS:
                    raise ImageError(
                        f"registry {self._host} broke off a transfer {failures} times: {why}",
                        unreachable=True,
                    )
                await asyncio.sleep(self._pause * 2**failures)

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        async with asyncio.timeout(STALLED):
            return await anext(pieces, None)

    async def _read(self, response: ClientResponse) -> bytes:
        try:
            async with asyncio.timeout(STALLED):
                return await response.read(LARGEST_DOCUMENT)
        except (OSError, TimeoutError) as error:
            raise ImageError(
                f"registry {self._host} can't be reached: {_reason(error)}", unreachable=True
            ) from error
        except ValueError:
            raise ImageError(f"registry {self._host} sent more than a manifest may hold") from None

    # requests

    async def _get(self, path: str, headers: Mapping[str, str]) -> ClientResponse:
        """Asked again while the registry is busy or can't be reached."""
        attempt = 0
        while True:
            pause = self._pause * 2**attempt
            attempt += 1
            try:
                response = await self._authorized(path, headers)
            except (OSError, TimeoutError) as error:
                if attempt >= (ATTEMPTS if self._base else FIRST_ATTEMPTS):
                    raise ImageError(
                        f"registry {self._host} can't be reached: {_reason(error)}",
                        unreachable=True,
                    ) from error
            else:
                if response.status not in BUSY:
                    return response
                if attempt >= ATTEMPTS:
                    raise await self._refusal(response, self._reference.name)
                pause = max(pause, _retry_after(response))
                response.close()
                if pause > LONGEST_PAUSE:
                    raise ImageError(
                        f"registry {self._host} asks to wait {pause:.0f} seconds (too many requests)",
                        unreachable=True,
                    )
            await asyncio.sleep(pause)

    async def _authorized(self, path: str, headers: Mapping[str, str]) -> ClientResponse:
        """With each credential in turn, until one is let in."""
        while True:
            used = self._authorization
            response = await self._followed(path, headers, used)
            if response.status not in (401, 403):
                self._worked = used
                return response
            async with self._authorizing:
                try:
                    if self._authorization == used and not await self._authorize(response, used):
                        return response
                except BaseException:
                    response.close()
                    raise
                response.close()

    async def _authorize(self, response: ClientResponse, used: str) -> bool:
        """Find what to say in the next attempt; False where nothing is left."""
        if used and used == self._worked:
            self._worked = ""  # the token has grown old
        elif used:
            if not self._untried:
                return False
            self._credential = self._untried.pop(0)
        scheme, said = parse_challenge(response.headers.get("www-authenticate", ""))
        while True:
            try:
                fresh = await self._answer(scheme, said)
                break
            except ImageError:
                if not self._untried:
                    raise
                self._credential = self._untried.pop(0)
        self._authorization = fresh
        return fresh not in ("", used)

    async def _answer(self, scheme: str, said: Mapping[str, str]) -> str:
        """What the credential at hand has to say to a challenge."""
        mine = self._credential
        if mine.token and not mine.username:
            return f"Bearer {mine.token}"
        if scheme == "basic" and mine.username:
            return basic(mine)
        if scheme == "bearer":
            return f"Bearer {await self._token(said)}"
        return ""

    async def _token(self, said: Mapping[str, str]) -> str:
        """From the token service that the registry names."""
        realm = urljoin(self._base + "/", said.get("realm", ""))
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (
            parts.scheme == "http" and (self._plain or is_loopback(parts.netloc))
        ):
            raise ImageError(
                f"registry {self._host} names a token service without TLS: {realm[:100]}"
            )
        asked = {
            "service": said.get("service", ""),
            "scope": said.get("scope") or f"repository:{self._reference.repository}:pull",
        }
        mine = self._credential
        headers = {"User-Agent": f"jindou/{__version__}"}
        if mine.token:
            body = urlencode(
                {
                    **asked,
                    "grant_type": "refresh_token",
                    "refresh_token": mine.token,
                    "client_id": "jindou",
                }
            ).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            response = await self._pool.request("POST", realm, headers, body)
        else:
            if mine.username:
                headers["Authorization"] = basic(mine)
                asked["account"] = mine.username
            query = urlencode({key: value for key, value in asked.items() if value})
            url = f"{realm}{'&' if parts.query else '?'}{query}"
            response = await self._pool.request("GET", url, headers)
        if response.status != 200:
            raise await self._refusal(response, self._reference.place)
        try:
            found = orjson.loads(await self._read(response))
            token = found.get("token") or found.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str):
            raise ImageError(f"the token service of registry {self._host} answered without a token")
        return token

    async def _followed(
        self, path: str, headers: Mapping[str, str], authorization: str
    ) -> ClientResponse:
        """Over redirects; what is secret stays with the first host."""
        relative = f"/v2/{self._reference.repository}/{path}"
        wanted = {"User-Agent": f"jindou/{__version__}", **headers}
        if authorization:
            wanted["Authorization"] = authorization
        if self._base:
            response = await self._pool.request("GET", self._base + relative, wanted)
        else:
            response = await self._first(relative, wanted)
        url = self._base + relative
        for _ in range(MOST_REDIRECTS):
            if response.status not in REDIRECTS:
                return response
            target = urljoin(url, response.headers.get("location", ""))
            response.close()
            old, new = urlsplit(url), urlsplit(target)
            if new.scheme not in ("https", "http") or (
                new.scheme == "http" and old.scheme == "https"
            ):
                raise ImageError(f"registry {self._host} redirects to {target[:100]}, without TLS")
            if (old.scheme, old.netloc) != (new.scheme, new.netloc):
                wanted.pop("Authorization", None)
            url = target
            response = await self._pool.request("GET", url, wanted)
        response.close()
        raise ImageError(f"registry {self._host} redirects without an end")

    async def _first(self, relative: str, headers: Mapping[str, str]) -> ClientResponse:
        """With TLS; a registry on this machine, or a named one, also without."""
        try:
            response = await self._pool.request("GET", f"https://{self._host}{relative}", headers)
            self._base = f"https://{self._host}"
        except (ssl.SSLError, ConnectionError) as error:
            if not self._plain or isinstance(error, ssl.SSLCertVerificationError):
                raise
            response = await self._pool.request("GET", f"http://{self._host}{relative}", headers)
            self._base = f"http://{self._host}"
        return response

    async def _refusal(self, response: ClientResponse, what: str) -> ImageError:
        """What the registry said, as one sentence."""
        status = response.status
        try:
            async with asyncio.timeout(10):
                said = told(await response.read(1 << 20))
        except (OSError, TimeoutError, ValueError):
            said = ""
        tail = f" ({said})" if said else ""
        if status == 404:
            return ImageError(f"{what} does not exist in registry {self._host}{tail}", missing=True)
        if status in (401, 403):
            return ImageError(
                f"registry {self._host} gives no access to {self._reference.repository}: it does not "
                f"exist there, or needs other credentials{tail}"
            )
        return ImageError(
            f"registry {self._host} answers {status} for {what}{tail}", unreachable=status in BUSY
        )


def is_loopback(host: str) -> bool:
    name = host.rpartition("@")[2]
    name = name[1 : name.index("]")] if name.startswith("[") and "]" in name else name.split(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def parse_challenge(header: str) -> tuple[str, dict[str, str]]:
    """The scheme in lower case, and its parameters. Of several, Bearer is taken."""
    at = header.lower().find("bearer ")
    text = header[at:] if at >= 0 else header
    scheme, _, rest = text.strip().partition(" ")
    found = {
        match[1].lower(): (match[2] if match[2] is not None else match[3]).replace("\\", "")
        for match in CHALLENGE.finditer(rest)
    }
    return scheme.lower(), found


def basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def told(data: bytes) -> str:
    """The messages in a registry's error document."""
    try:
        found = orjson.loads(data)
        errors = found.get("errors") or [found]
        texts = [str(one.get("message") or one.get("details") or one.get("code")) for one in errors]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return "; ".join(text for text in texts if text != "None")[:300]


def _start(response: ClientResponse) -> int:
    """Where in the blob an answer begins."""
    if response.status != 206:
        return 0
    match = re.match(r"bytes (\d{1,18})-", response.headers.get("content-range", ""))
    return int(match[1]) if match else 1 << 62


def _retry_after(response: ClientResponse) -> float:
    said = response.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() and len(said) < 7 else 0.0


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, socket.gaierror):
        return "its name can't be resolved"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ConnectionRefusedError):
        return "it refuses the connection"
    return str(error) or type(error).__name__
