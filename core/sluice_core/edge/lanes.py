"""Streams, consumers and the bucket as Sluice wants them in the broker.

Definitions are JSON of the JetStream API rather than the client's classes, which drop fields they do not know when a
configuration is read, changed and written back. Invariant: `ensure_*` changes nothing that is already as wanted, and
never empties or deletes a stream.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sluice_core.edge.broker import CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, Broker
from sluice_core.errors import ApiError, BrokerUnavailable
from sluice_core.limits import MAX_MESSAGE_BYTES, MIB
from sluice_core.names import (
    DLQ_STREAM,
    TENANTS_BUCKET,
    TENANTS_STREAM,
    WORKERS,
    closed_subject,
    lane_stream,
    lane_subject,
)

ACK_WAIT_SECONDS = 30
"""Time without an acknowledgement or a sign of life after which a message is delivered again."""
MAX_ACK_PENDING = 20_000
"""Reached, it would stop the whole lane: 4,200 in flight cost nothing measurable (facts of nats-server 2.15)."""
DEAD_LETTERS_PER_SUBJECT = 2_000
"""Letters of one tenant, parked and dead ones each for themselves. A letter is 256 KiB at most, unless it holds one
record that is larger, so one tenant at both caps fills up to 1,000 MiB, less than half of `DEAD_LETTERS_BYTES`."""
DEAD_LETTERS_BYTES = 2048 * MIB
_SECOND = 1_000_000_000
_KEEP_EVERYTHING = {"max_age": 0, "max_msgs": -1}
"""The defaults, said aloud so that another value counts as a difference: it would take messages away."""


class Progress(NamedTuple):
    """Where a lane stands, by sequences of its stream."""

    last: int
    """The newest message that it ever took."""
    finished: int
    """Everything up to here is finished: it left the work queue, or the consumer says so."""


def lane_definition(lane: str, *, max_bytes: int, replicas: int) -> dict[str, Any]:
    """The stream of a lane: a work queue that refuses rather than forgets."""
    return {
        "name": lane_stream(lane),
        "subjects": [lane_subject(lane)],
        "retention": "workqueue",
        "storage": "file",
        "discard": "new",
        **_KEEP_EVERYTHING,
        "max_bytes": max_bytes,
        "max_msg_size": MAX_MESSAGE_BYTES,
        "num_replicas": replicas,
    }


def consumer_definition() -> dict[str, Any]:
    """The durable consumer that all workers of a lane share."""
    return {
        "durable_name": WORKERS,
        "ack_policy": "explicit",
        "ack_wait": ACK_WAIT_SECONDS * _SECOND,
        "max_ack_pending": MAX_ACK_PENDING,
        "max_deliver": -1,
        "deliver_policy": "all",
        "replay_policy": "instant",
    }


def dead_letters_definition(*, max_bytes: int, replicas: int) -> dict[str, Any]:
    """The stream of parked records and dead letters, capped for each tenant."""
    return {
        "name": DLQ_STREAM,
        "subjects": ["dlq.*", "parked.*"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs_per_subject": DEAD_LETTERS_PER_SUBJECT,
        **_KEEP_EVERYTHING,
        "max_bytes": max_bytes,
        "max_msg_size": MAX_MESSAGE_BYTES,
        "allow_direct": True,
        "num_replicas": replicas,
    }


def bucket_definition(*, replicas: int) -> dict[str, Any]:
    """The key-value bucket of tenant configs: the last value of each key, readable from any replica."""
    return {
        "name": TENANTS_STREAM,
        "subjects": [f"$KV.{TENANTS_BUCKET}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs_per_subject": 1,
        **_KEEP_EVERYTHING,
        "max_bytes": 256 * MIB,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "num_replicas": replicas,
    }


async def ensure_stream(broker: Broker, wanted: Mapping[str, Any]) -> bool:
    """Create the stream, or change what differs; returns whether anything was done."""
    name = wanted["name"]
    try:
        info = await broker.api(f"STREAM.INFO.{name}")
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
        await broker.api(f"STREAM.CREATE.{name}", wanted)
        return True
    if holds(info["config"], wanted):
        return False
    await broker.api(f"STREAM.UPDATE.{name}", {**info["config"], **wanted})
    return True


async def ensure_consumer(broker: Broker, stream: str) -> bool:
    """Create the durable consumer of a lane, or change what differs; returns whether anything was done."""
    wanted = consumer_definition()
    try:
        info = await broker.api(f"CONSUMER.INFO.{stream}.{WORKERS}")
    except ApiError as error:
        if error.err_code != CONSUMER_NOT_FOUND:
            raise
        current: dict[str, Any] = {}
    else:
        current = info["config"]
        if holds(current, wanted):
            return False
    request = {"stream_name": stream, "config": {**current, **wanted}}
    await broker.api(f"CONSUMER.DURABLE.CREATE.{stream}.{WORKERS}", request)
    return True


async def close_lane(broker: Broker, lane: str) -> None:
    """Let a lane take nothing more; what is in it stays until workers have finished it. None of that name is fine."""
    name = lane_stream(lane)
    wanted = {"subjects": [closed_subject(lane)]}
    try:
        info = await broker.api(f"STREAM.INFO.{name}")
        if not holds(info["config"], wanted):
            await broker.api(f"STREAM.UPDATE.{name}", {**info["config"], **wanted})
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise


async def empty_stream(broker: Broker, name: str) -> int:
    """Throw away what is in a stream; returns how many messages. None of that name is fine."""
    try:
        answer = await broker.api(f"STREAM.PURGE.{name}")
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
        return 0
    return int(answer.get("purged", 0))


async def delete_consumer(broker: Broker, lane: str) -> None:
    """Delete a lane's consumer; none there is fine."""
    try:
        await broker.api(f"CONSUMER.DELETE.{lane_stream(lane)}.{WORKERS}")
    except ApiError as error:
        if error.err_code not in {STREAM_NOT_FOUND, CONSUMER_NOT_FOUND}:
            raise


async def delete_stream(broker: Broker, name: str) -> None:
    """Delete a stream; none of that name is fine."""
    try:
        await broker.api(f"STREAM.DELETE.{name}")
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise


async def lane_exists(broker: Broker, lane: str) -> bool:
    """Whether the lane's stream is there."""
    try:
        await broker.api(f"STREAM.INFO.{lane_stream(lane)}")
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
        return False
    return True


async def lane_progress(broker: Broker, lane: str) -> Progress:
    """How far the lane is."""
    state = (await broker.api(f"STREAM.INFO.{lane_stream(lane)}"))["state"]
    info = await broker.api(f"CONSUMER.INFO.{lane_stream(lane)}.{WORKERS}")
    last = int(state["last_seq"])
    # Not the consumer's floor alone: a broker that is killed loses the last moments of it but not what they took out
    # of the stream, and of an empty lane it never catches up again.
    gone = int(state["first_seq"]) - 1 if state["messages"] else last
    return Progress(last, max(gone, int(info["ack_floor"]["stream_seq"])))


async def lane_is_finished(broker: Broker, lane: str, target: int) -> bool:
    """Whether everything up to sequence `target` is finished, or was lost with its stream."""
    try:
        progress = await lane_progress(broker, lane)
    except ApiError as error:
        if error.err_code == CONSUMER_NOT_FOUND:  # it comes back with the next repair
            return False
        if error.err_code != STREAM_NOT_FOUND:
            raise
        return True
    # A stream that was lost and made again begins anew: what was in the old one will never be finished.
    return progress.last < target or progress.finished >= target


async def last_sequence(broker: Broker, lane: str) -> int:
    """Sequence of the newest message the lane ever took."""
    info = await broker.api(f"STREAM.INFO.{lane_stream(lane)}")
    return int(info["state"]["last_seq"])


async def list_streams(broker: Broker) -> dict[str, dict[str, Any]]:
    """Configuration and state of every stream, by name, in one call for each 256 of them.

    Raises BrokerUnavailable where some are missing: a cluster that just lost a server answers without the streams it
    heard nothing of, and what is not listed must not count as gone.
    """
    found: dict[str, dict[str, Any]] = {}
    while True:
        before = len(found)
        answer = await broker.api("STREAM.LIST", {"offset": before})
        found.update((info["config"]["name"], info) for info in answer["streams"] or [])
        if len(found) >= answer["total"]:
            return found
        if len(found) == before or answer.get("missing"):
            raise BrokerUnavailable("the broker could not list all of its streams")


def lanes_of(streams: Iterable[str]) -> set[str]:
    """The lanes among these names of streams."""
    prefix = lane_stream("")
    return {name.removeprefix(prefix) for name in streams if name.startswith(prefix)}


def holds(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a configuration says everything that is wanted."""
    return all(current.get(key) == value for key, value in wanted.items())
