"""Where records go that can never be stored: dead letters, each with its reason.

Invariant: a record is acknowledged as dead only after the broker has its dead letter on disk.
"""

from sluice_core.edge.broker import Broker
from sluice_core.edge.dead_letters import DeadLetter, version_text, write_dead_letter
from sluice_core.envelope import encode_record
from sluice_core.errors import Unencodable
from sluice_core.names import UNREADABLE
from sluice_core.reasons import (
    REDACTION_FAILED,
    UNENCODABLE_RECORD,
    UNREADABLE_MESSAGE,
    WRITE_REFUSED,
    Reason,
)
from sluice_core.version import Version
from sluice_worker import metrics
from sluice_worker.documents import Prepared
from sluice_worker.handle import Message
from sluice_worker.sink import Outcome

_BURIED = frozenset({REDACTION_FAILED.code, UNENCODABLE_RECORD.code, WRITE_REFUSED.code})


class Graveyard:
    """Writes dead letters."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def outcome(self, prepared: Prepared) -> Outcome:
        """The outcome of a record that could not be prepared."""
        if isinstance(prepared.failure, Unencodable):
            return Outcome(prepared, UNENCODABLE_RECORD, str(prepared.failure))
        return Outcome(prepared, REDACTION_FAILED, type(prepared.failure).__name__)

    def takes(self, reason: Reason) -> bool:
        """Whether an outcome with this reason needs a dead letter."""
        return reason.code in _BURIED

    async def bury(self, outcome: Outcome) -> None:
        """Keep a record as a dead letter. Raises BrokerError; burying twice is possible and harmless."""
        item = outcome.prepared.item
        submission = item.submission
        record = submission.records[item.position]
        letter = DeadLetter(
            tenant_id=submission.tenant_id,
            reason=outcome.reason.code,
            detail=outcome.detail,
            log_id=outcome.prepared.log_id,
            uid=submission.uid,
            request_id=submission.request_id,
            source=submission.source,
            received_at=submission.received_at,
            attempts=item.message.delivery.delivered,
            version=version_text(item.version),
        )
        await write_dead_letter(self._broker, letter, encode_record(record))

    async def bury_message(self, message: Message) -> None:
        """Keep a message that is no envelope, whole. Raises BrokerError."""
        delivery = message.delivery
        letter = DeadLetter(
            tenant_id=UNREADABLE,
            reason=UNREADABLE_MESSAGE.code,
            detail=f"from stream {delivery.stream}",
            attempts=delivery.delivered,
            version=version_text(Version(delivery.time, delivery.sequence, 0)),
        )
        await write_dead_letter(self._broker, letter, delivery.payload)
        metrics.SETTLED.labels("", UNREADABLE_MESSAGE.code).inc()
