"""The client of the native protocol: batches of lines over HTTP until each is taken or refused for good.

Every record has an id that depends on its place and text only, and every request an Idempotency-Key made of them, so
that whatever is sent twice is stored once. Invariant: `send` returns only what the server said of every line of the
batch; a line is neither lost nor counted twice by a retry.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha256
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

import httpx
import msgspec

from sluice_cli.lines import Batch, Line, record_id
from sluice_core.errors import SluiceError
from sluice_core.reasons import BODY_TOO_LARGE

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_REQUEST_SECONDS = 30.0
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_UNLISTED = "not_listed"
"""Stands for refusals beyond those an answer lists one by one."""


class SendError(SluiceError):
    """The lines cannot be sent: the server refuses them all, or did not take them in time."""


class _Record(msgspec.Struct):
    log_id: str
    text: str


class _Rejected(msgspec.Struct):
    code: str = _UNLISTED


class _Body(msgspec.Struct):
    """What we read of a 202 or a problem."""

    accepted: int = 0
    log_ids: list[str] = []
    rejected: list[_Rejected] = []
    rejected_total: int | None = None
    code: str = ""
    detail: str = ""
    retryable: bool = False


class Answer:
    """What became of some lines."""

    def __init__(self, accepted: int = 0, rejected: Counter[str] | None = None, ids: Sequence[str] = ()) -> None:
        self.accepted = accepted
        self.rejected: Counter[str] = rejected or Counter()
        """How many were refused, by reason."""
        self.ids = list(ids)
        """Ids of those accepted, when they were asked for."""

    def add(self, other: "Answer") -> None:
        """Count `other` in."""
        self.accepted += other.accepted
        self.rejected += other.rejected
        self.ids += other.ids


class Client:
    """Sends lines to one tenant. To be used as an async context manager.

    `source` is what record ids begin with; `timeout` bounds the time one batch may take, retries included, in seconds;
    `retrying` is told why, each time something is sent again.
    """

    def __init__(
        self,
        url: str,
        tenant_id: str,
        key: str | None,
        *,
        source: str,
        timeout: float = 60.0,
        return_ids: bool = False,
        retrying: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._url = ingest_url(url)
        self._tenant_id = tenant_id
        self._has_key = bool(key)
        self._source = source
        self._timeout = timeout
        self._query = {"return": "ids"} if return_ids else {}
        self._retrying = retrying
        headers = {"Content-Type": "application/x-ndjson", "X-Tenant-ID": tenant_id, "User-Agent": "sluice-send"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        # A proxy is for the way out of this machine, never for the way to a stack on it.
        self._http = httpx.AsyncClient(headers=headers, trust_env=not _is_loopback(self._url))

    async def __aenter__(self) -> Self:
        """Nothing is opened before the first request."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def send(self, lines: Sequence[Line]) -> Answer:
        """Send the lines and wait until each is accepted or refused.

        Raises SendError when they are neither in time, or none ever will be.
        """
        records = [_Record(record_id(self._source, line), line.text) for line in lines]
        response = await self._post(_encoder.encode_lines(records), _idempotency_key(records))
        body = _read(response)
        rejected = Counter(entry.code for entry in body.rejected)
        if unlisted := (body.rejected_total or 0) - len(body.rejected):
            rejected[_UNLISTED] += max(unlisted, 0)
        if response.status_code == 202:
            return Answer(body.accepted, rejected, body.log_ids)
        if rejected:
            return Answer(0, rejected)
        if body.code == BODY_TOO_LARGE.code:
            return await self._send_smaller(lines)
        raise SendError(self._explain(response, body))

    async def _send_smaller(self, lines: Sequence[Line]) -> Answer:
        """Send a batch that is too large for the tenant's limit in two; a line that is too large alone is refused."""
        if len(lines) == 1:
            return Answer(0, Counter({BODY_TOO_LARGE.code: 1}))
        middle = len(lines) // 2
        answer = await self.send(lines[:middle])
        answer.add(await self.send(lines[middle:]))
        return answer

    async def _post(self, body: bytes, key: str) -> httpx.Response:
        """The first answer that is final."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        attempt = 0
        while True:
            asked = None
            try:
                response = await self._http.post(
                    self._url,
                    content=body,
                    params=self._query,
                    headers={"Idempotency-Key": key},
                    timeout=max(min(_REQUEST_SECONDS, deadline - loop.time()), 0.1),
                )
            except httpx.TransportError as error:
                why = f"no answer from {self._url} ({type(error).__name__})"
            else:
                problem = _read(response)
                if response.status_code not in _RETRIED and not problem.retryable:
                    return response
                why = f"the server answered {response.status_code} {problem.code}".rstrip()
                asked = response.headers.get("retry-after")
            pause = retry_pause(attempt, asked, random.random())  # noqa: S311 - nothing to guess here
            if loop.time() + pause >= deadline:
                raise SendError(f"gave up after {self._timeout:g} s: {why}")
            self._retrying(why)
            await asyncio.sleep(pause)
            attempt += 1

    def _explain(self, response: httpx.Response, body: _Body) -> str:
        if response.status_code == 401 and not self._has_key:
            return (
                f"there is no key for tenant {self._tenant_id}: give it by --key or SLUICE_KEY, or name the data "
                "directory of a stack that has this tenant by --data (`sluice tenants list` shows which it has)"
            )
        if body.code:
            return f"the server refused the lines: {body.detail} ({response.status_code} {body.code})"
        return f"{self._url} answered {response.status_code}: that is no Sluice ingest, correct --url"


_encoder = msgspec.json.Encoder()


async def send_all(
    client: Client,
    batches: AsyncIterator[Batch],
    *,
    concurrency: int,
    settled: Callable[[Batch, Answer], None],
    rate: float | None = None,
) -> None:
    """Send batches, at most `concurrency` at once and at most `rate` lines a second.

    `settled` hears of each batch when it is done, not always in order. Raises SendError, after which what was under way
    has been given up.
    """
    loop = asyncio.get_running_loop()
    free = asyncio.Semaphore(concurrency)
    next_turn = loop.time()

    async def send(batch: Batch) -> None:
        try:
            settled(batch, await client.send(batch.lines) if batch.lines else Answer())
        finally:
            free.release()

    async with asyncio.TaskGroup() as group:
        async for batch in batches:
            if rate is not None:
                await asyncio.sleep(next_turn - loop.time())
                next_turn = max(next_turn, loop.time()) + len(batch.lines) / rate
            await free.acquire()
            group.create_task(send(batch))


def ingest_url(url: str) -> str:
    """The URL that records go to, from a base URL or that URL itself. Raises SendError for what is none."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise SendError(f"{url} is not an http or https URL")
    base = url.rstrip("/")
    return base if base.endswith("/ingest") else base + "/ingest"


def retry_pause(attempt: int, retry_after: str | None, luck: float) -> float:
    """Seconds until the next attempt: doubling, spread by `luck` (0 to 1), and never less than the server asked for."""
    pause = min(_FIRST_PAUSE * 2.0 ** min(attempt, 10), _LONGEST_PAUSE) * (0.5 + luck / 2)
    asked = float(retry_after) if retry_after is not None and retry_after.isdigit() else 0.0
    return max(pause, asked)


def _idempotency_key(records: Sequence[_Record]) -> str:
    # Ids hold place and text, so these are the same for a retry and for nothing else.
    return sha256("\n".join(record.log_id for record in records).encode()).hexdigest()[:32]


def _read(response: httpx.Response) -> _Body:
    try:
        return msgspec.json.decode(response.content, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Body()


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
