"""A small client of the API server, on the HTTP library that kopf brings along.

Why not a bigger one: docs/decisions/0015. Every call is bounded in time and either returns what the API server holds or
raises a KubeError. Server-side apply leaves alone what others set on the same object, such as the number of replicas.
Invariant: an access token is read again when the API server no longer takes it, since projected ones expire.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import aiohttp
import msgspec

from sluice_operator.kube.errors import Conflict, KubeRefused, KubeUnavailable, error_of
from sluice_operator.kube.kinds import Kind

FIELD_MANAGER = "sluice-operator"
CALL_SECONDS = 30.0
_WATCH_SECONDS = 300
_SILENT_SECONDS = 70.0
"""The API server sends a bookmark every minute: a watch that is silent for longer is dead."""
_LONGEST_LINE = 4 * 1024 * 1024

Object = dict[str, Any]


class Credentials(Protocol):
    """How to reach the API server, as kopf's logins return it."""

    @property
    def server(self) -> str:
        """`https://host:port`."""
        ...

    def as_http_headers(self) -> dict[str, str]:
        """The Authorization header, if any."""
        ...

    def as_ssl_context(self) -> ssl.SSLContext:
        """Authority and client certificate."""
        ...


class Kube:
    """One connection pool to the API server; `login` is called when needed, and again when it is refused."""

    def __init__(self, login: Callable[[], Credentials]) -> None:
        self._login = login
        self._session: aiohttp.ClientSession | None = None
        self._server = ""
        self._logging_in = asyncio.Lock()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # -- objects -----------------------------------------------------------------------------------------------------

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object, None when there is none."""
        try:
            return await self.call("GET", kind.path(namespace, name))
        except KubeRefused as error:
            if error.status != 404:
                raise
            return None

    async def list(self, kind: Kind, namespace: str = "", selector: str = "") -> list[Object]:
        """All objects of a kind, of one namespace or of all."""
        found: list[Object] = []
        query = {"limit": "500", **({"labelSelector": selector} if selector else {})}
        while True:
            answer = await self.call("GET", kind.path(namespace), query=query)
            found += answer.get("items") or []
            token = answer["metadata"].get("continue")
            if not token:
                return found
            query["continue"] = token

    async def create(self, kind: Kind, manifest: Object) -> Object:
        """Make an object. Raises Conflict when there is one of that name."""
        return await self.call(
            "POST", kind.path(manifest["metadata"]["namespace"]), manifest, query={"fieldManager": FIELD_MANAGER}
        )

    async def replace(self, kind: Kind, manifest: Object) -> Object:
        """Put an object in the place of the one with its resourceVersion. Raises Conflict."""
        meta = manifest["metadata"]
        return await self.call(
            "PUT", kind.path(meta["namespace"], meta["name"]), manifest, query={"fieldManager": FIELD_MANAGER}
        )

    async def apply(self, kind: Kind, manifest: Object) -> Object:
        """Make an object, or set those fields of it that the manifest has; others' fields stay."""
        meta = manifest["metadata"]
        return await self.call(
            "PATCH",
            kind.path(meta["namespace"], meta["name"]),
            manifest,
            content_type="application/apply-patch+yaml",
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
        )

    async def patch_status(self, kind: Kind, namespace: str, name: str, status: Object) -> None:
        """Merge these fields into an object's status; it may be gone."""
        try:
            await self.call(
                "PATCH",
                kind.path(namespace, name, "status"),
                {"status": status},
                content_type="application/merge-patch+json",
                query={"fieldManager": FIELD_MANAGER},
            )
        except KubeRefused as error:
            if error.status != 404:
                raise

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str = "") -> None:
        """Delete an object, only if it has this uid where one is given; none there is fine."""
        body = {"propagationPolicy": "Background", **({"preconditions": {"uid": uid}} if uid else {})}
        try:
            await self.call("DELETE", kind.path(namespace, name), body)
        except Conflict:
            return  # it is another one by now
        except KubeRefused as error:
            if error.status != 404:
                raise

    # -- transport ---------------------------------------------------------------------------------------------------

    async def call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """One request and its answer. Raises KubeError."""
        data = None if body is None else msgspec.json.encode(body)
        for attempt in (1, 2):
            session = await self._connected()
            try:
                async with (
                    asyncio.timeout(CALL_SECONDS),
                    session.request(
                        method, self._server + path, data=data, params=query, headers={"Content-Type": content_type}
                    ) as response,
                ):
                    raw = await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise KubeUnavailable(f"the API server did not answer ({type(error).__name__})") from None
            if response.status == 401 and attempt == 1:
                await self._forget(session)
                continue
            answer = _decode(raw)
            if response.status >= 400:
                raise error_of(f"{method} {path}", response.status, answer)
            return answer
        raise AssertionError("unreachable")

    async def watch(
        self, kind: Kind, namespace: str, selectors: Mapping[str, str], version: str
    ) -> AsyncIterator[tuple[str, Object]]:
        """Changes after `version` as (type, object), bookmarks too, until the API server ends it. Raises KubeError."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
            **selectors,
        }
        session = await self._connected()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_SILENT_SECONDS)
        path = kind.path(namespace)
        try:
            async with session.get(self._server + path, params=query, timeout=timeout) as response:
                if response.status >= 400:
                    if response.status == 401:
                        await self._forget(session)
                    raise error_of(f"WATCH {path}", response.status, _decode(await response.read()))
                async for line in _lines(response.content):
                    change = _decode(line)
                    if change.get("type") == "ERROR":
                        said = change.get("object") or {}
                        raise error_of(f"WATCH {path}", int(said.get("code", 500)), said)
                    yield change["type"], change["object"]
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise KubeUnavailable(f"a watch ended ({type(error).__name__})") from None

    async def _connected(self) -> aiohttp.ClientSession:
        async with self._logging_in:
            if self._session is None:
                credentials = self._login()
                secure = credentials.server.startswith("https:")
                connector = (
                    aiohttp.TCPConnector(limit=32, ssl=credentials.as_ssl_context())
                    if secure
                    else aiohttp.TCPConnector(limit=32)
                )
                self._server = credentials.server.rstrip("/")
                self._session = aiohttp.ClientSession(connector=connector, headers=credentials.as_http_headers())
            return self._session

    async def _forget(self, session: aiohttp.ClientSession) -> None:
        async with self._logging_in:
            if self._session is session:
                self._session = None
        await session.close()


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines however long, which the reader's own iteration does not give."""
    rest = b""
    async for piece in stream.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in filter(None, lines):
            yield line
        if len(rest) > _LONGEST_LINE:
            raise KubeUnavailable("a watch sent an object that is too large")


def _decode(raw: bytes) -> Object:
    try:
        answer = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
