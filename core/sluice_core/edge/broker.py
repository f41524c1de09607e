"""The connection to the broker, and the traps of its client closed off.

nats-py buffers while it is disconnected and reports a refused publish and a lost one by the same class; here a publish
either returns the sequence the stream gave it or raises one of three errors, in bounded time. Invariant: a returned
sequence means the broker acknowledged, which with `sync_interval: always` means it is on disk.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec
from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from sluice_core.errors import ApiError, BrokerFull, BrokerUnavailable, MessageTooLarge

log = logging.getLogger(__name__)

FULL = frozenset({10002, 10047, 10028, 10077})
"""Server error codes of a stream, account or disk at its limit (nats-server, server/errors.json)."""
TOO_LARGE = 10054
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014

_RECONNECT_SECONDS = 0.25
_PING_SECONDS = 3
"""With two outstanding pings a silent server is left in 9 s, for another one of its cluster if there is one; by then
the others have a new leader. The client's default needs six minutes."""
_LOG_EVERY_SECONDS = 10.0
_CREDENTIALS_FILE = "-----BEGIN NATS USER JWT-----"


class Login(Protocol):
    """What a part's settings must say about the broker."""

    @property
    def nats_url(self) -> str:
        """`nats://host:port`."""
        ...

    @property
    def nats_user(self) -> str:
        """Also names the private inbox prefix."""
        ...

    @property
    def nats_password(self) -> str:
        """The user's password, or the text of a credentials file (JWT and seed). Never logged."""
        ...


def _authentication(login: Login) -> dict[str, Any]:
    if _CREDENTIALS_FILE in login.nats_password:
        return {"user_credentials": RawCredentials(login.nats_password)}
    return {"user": login.nats_user, "password": login.nats_password}


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(msgspec.Struct):
    seq: int = 0
    error: _Error | None = None


_puback = msgspec.json.Decoder(_PubAck)


class _Client(Client):
    """The client without its leak: it forgets a connection that broke before it was greeted, and leaves it open."""

    async def _connect_to_server(self, s: Any) -> None:
        if self._transport:
            self._transport.close()  # type: ignore[no-untyped-call]  # the client leaves it untyped
        await super()._connect_to_server(s)


class Broker:
    """One connection to NATS that reconnects for ever.

    `user` also names the private inbox prefix `_INBOX_<user>`, which permissions pin. `on_closed` is called if the
    client gives up for good (bad credentials): the process should end then.
    """

    def __init__(self, login: Login, *, on_closed: Callable[[], None] | None = None) -> None:
        self._login = login
        self._on_closed = on_closed
        self._client = _Client()
        self._closing = False
        self._last_logged = 0.0

    async def connect(self) -> None:
        """Connect, trying until it works or the task is cancelled."""
        await self._client.connect(
            servers=[self._login.nats_url],
            **_authentication(self._login),
            name=f"sluice-{self._login.nats_user}",
            inbox_prefix=f"_INBOX_{self._login.nats_user}".encode(),
            connect_timeout=2,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RECONNECT_SECONDS,  # type: ignore[arg-type]  # it only sleeps this long
            ping_interval=_PING_SECONDS,
            max_outstanding_pings=2,
            error_cb=self._log_error,
            disconnected_cb=self._log_disconnected,
            reconnected_cb=self._log_reconnected,
            closed_cb=self._closed,
        )

    async def close(self) -> None:
        """Send what is buffered and disconnect."""
        self._closing = True
        with suppress(NatsError, OSError, asyncio.TimeoutError):
            if self._client.is_connected:
                await self._client.flush(timeout=2)
        with suppress(NatsError, OSError, asyncio.TimeoutError):
            await self._client.close()

    @property
    def connected(self) -> bool:
        """Whether a request could be sent now."""
        return self._client.is_connected

    @property
    def reconnects(self) -> int:
        """How often the connection was lost and made again: another number, perhaps another broker."""
        return int(self._client.stats["reconnects"])

    @property
    def server_version(self) -> str:
        """Of the server it is connected to, such as `2.15.1`."""
        version = self._client.connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}"

    async def publish(
        self, subject: str, payload: bytes, *, stream: str, timeout: float, headers: dict[str, str] | None = None
    ) -> int:
        """Publish to a stream and wait for its acknowledgement; returns the sequence. `timeout` in seconds.

        Raises BrokerFull and MessageTooLarge when nothing was stored, BrokerUnavailable when that is unknown.
        """
        reply = await self.request(subject, payload, timeout, {**(headers or {}), "Nats-Expected-Stream": stream})
        try:
            ack = _puback.decode(reply.data)
        except msgspec.DecodeError:
            raise BrokerUnavailable("the broker's acknowledgement is not one") from None
        if ack.error is None:
            return ack.seq
        if ack.error.err_code in FULL:
            raise BrokerFull("the stream is at its limit")
        if ack.error.err_code == TOO_LARGE:
            raise MessageTooLarge("the message is larger than the stream takes")
        raise BrokerUnavailable(f"the broker answered error {ack.error.err_code}")

    async def request(self, subject: str, payload: bytes, timeout: float, headers: dict[str, str] | None = None) -> Msg:
        """One request and its reply. Raises BrokerUnavailable."""
        if not self._client.is_connected:
            # The client would keep the bytes and send them after reconnecting, long after we answered 503.
            raise BrokerUnavailable("not connected to the broker")
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        try:
            # The client's own timeout does not cover sending, which may wait behind megabytes of others.
            async with asyncio.timeout(timeout):
                reply = await self._client.request(subject, payload, timeout=timeout, headers=headers)
                if task is not None and task.cancelling() > before:
                    raise asyncio.CancelledError  # Python 3.11's wait_for, which the client uses, may forget it
                return reply
        except NoRespondersError:
            raise BrokerUnavailable("no stream takes this subject") from None
        except (TimeoutError, NatsError, OSError):
            raise BrokerUnavailable("the broker did not answer in time") from None

    async def api(self, call: str, body: Any = None, *, timeout: float = 5.0) -> dict[str, Any]:
        """One call of the JetStream API, such as `STREAM.INFO.name`; returns its answer.

        Raises ApiError for an answer that is an error, BrokerUnavailable for none.
        """
        payload = b"" if body is None else msgspec.json.encode(body)
        reply = await self.request(f"$JS.API.{call}", payload, timeout)
        answer: dict[str, Any] = msgspec.json.decode(reply.data)
        if (error := answer.get("error")) is not None:
            raise ApiError(call, error.get("err_code", 0), error.get("description", ""))
        return answer

    async def stream_of_replies(self, subject: str, payload: bytes, timeout: float) -> AsyncGenerator[Msg, None]:
        """Send one request that is answered by many messages; `timeout` seconds for each.

        Ends only when the caller stops iterating. Raises BrokerUnavailable.
        """
        if not self._client.is_connected:
            raise BrokerUnavailable("not connected to the broker")
        inbox = self._client.new_inbox()
        arrived: asyncio.Queue[Msg] = asyncio.Queue()
        try:
            # Not the subscription's own next_msg: it forgets a cancellation that comes together with a message.
            subscription = await self._client.subscribe(inbox, cb=arrived.put)
            try:
                await self._client.publish(subject, payload, reply=inbox)
                while True:
                    async with asyncio.timeout(timeout):
                        message = await arrived.get()
                    yield message
            finally:
                await subscription.unsubscribe()
        except (TimeoutError, NatsError, OSError):
            raise BrokerUnavailable("the broker did not answer in time") from None

    async def subscribe(self, subject: str, handle: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Call `handle` for every message on `subject`, also after reconnecting, until `unsubscribe()` is called.

        Raises BrokerUnavailable before the first connection.
        """
        try:
            return await self._client.subscribe(subject, cb=handle)
        except (NatsError, OSError):
            raise BrokerUnavailable("not connected to the broker") from None

    async def send(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        """Publish without waiting for anything. Raises BrokerUnavailable when not connected."""
        if not self._client.is_connected:
            raise BrokerUnavailable("not connected to the broker")
        try:
            await self._client.publish(subject, payload, reply=reply)
        except (NatsError, OSError) as error:
            raise BrokerUnavailable("the broker connection was lost") from error

    def new_inbox(self) -> str:
        """A subject of our own that only this connection listens to."""
        inbox: str = self._client.new_inbox()
        return inbox

    async def _log_error(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._last_logged >= _LOG_EVERY_SECONDS:  # each failed reconnect calls this, several times a second
            self._last_logged = now
            log.warning("broker client error", extra={"error": type(error).__name__})

    async def _log_disconnected(self) -> None:
        if not self._closing:
            log.warning("disconnected from the broker")

    async def _log_reconnected(self) -> None:
        log.info("reconnected to the broker")

    async def _closed(self) -> None:
        if not self._closing:
            log.error("the broker client gave up; check user and password")
            if self._on_closed is not None:
                self._on_closed()


__all__ = ["CONSUMER_NOT_FOUND", "FULL", "STREAM_NOT_FOUND", "Broker", "Login", "Msg"]
