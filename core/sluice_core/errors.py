"""Every error Sluice raises on purpose.

    SluiceError
    ├── Refusal              a request or record that is not taken; carries the Reason
    ├── SettingsError        an environment that no process can start with
    ├── ManifestError        a Tenant file that is not valid
    ├── BrokerError          the broker did not do it
    │   ├── BrokerUnavailable    no answer in time, not connected, no such stream
    │   ├── BrokerFull           the stream or account is at its limit
    │   ├── MessageTooLarge      larger than the broker takes
    │   └── ApiError             the JetStream API says no; carries its code
    ├── StoreUnavailable     the database did not do it in time
    │   ├── StoreInterrupted     the server, or the way to it, broke off: nobody can write there now
    │   ├── StoreRefused         the server answered that it will not, there; carries its code
    │   └── AccessDenied         this user may not do that there: not yet, or no longer
    ├── DocumentError        the document is what is wrong, whenever it is tried
    │   ├── Unencodable          BSON cannot hold it
    │   └── WriteRefused         the database refuses it; carries its code
    └── ProvisionError       a tenant could not be brought to what its manifest says; carries the Reason
        ├── TenantConflict       the id belongs to somebody else
        │   └── TenantRetained       whose Tenant is gone, and whose database is kept
        ├── TenantLeaving        the id is its owner's, who is being deleted
        ├── NoRoom               the broker has no disk for another lane
        ├── SecretConflict       something that is not ours is where the tenant's secret belongs
        └── TenantNotFound       no such tenant

Invariant: a message never contains a secret or log text, since messages reach logs and answers.
"""

import msgspec

from sluice_core.reasons import (
    DELETING,
    NO_ROOM_FOR_LANE,
    NOT_PROVISIONED,
    SECRET_CONFLICT,
    TENANT_ID_CONFLICT,
    TENANT_ID_RETAINED,
    Reason,
)


class SluiceError(Exception):
    """Base of all errors below; its message is a sentence for a person."""


class Refusal(SluiceError):
    """A request, or one record of it, is not taken.

    `reason` says why; `detail` adds what a person needs to mend it (a field, an index, a limit), never its content.
    """

    def __init__(self, reason: Reason, detail: str | None = None, *, retry_after: float = 0.0) -> None:
        super().__init__(reason.code)
        self.reason = reason
        self.detail = detail or reason.sentence
        self.retry_after = retry_after
        """Seconds after which a retry can succeed, where that is known."""


class SettingsError(SluiceError):
    """A setting is missing or malformed."""


class ManifestError(SluiceError):
    """A Tenant manifest is not valid."""


class BrokerError(SluiceError):
    """The broker did not do what it was asked."""


class BrokerUnavailable(BrokerError):
    """No answer in time, no connection, or no stream: it may or may not have happened."""


class BrokerFull(BrokerError):
    """The stream or account is at its limit; nothing was stored."""


class MessageTooLarge(BrokerError):
    """The message is larger than the broker takes; nothing was stored."""


class ApiError(BrokerError):
    """The JetStream API answered with an error."""

    def __init__(self, call: str, err_code: int, description: str) -> None:
        super().__init__(f"JetStream answered {call.partition('.$')[0]} with error {err_code}: {description}")
        self.err_code = err_code


class StoreUnavailable(SluiceError):
    """The database did not answer in time or cannot take writes now."""


class StoreInterrupted(StoreUnavailable):
    """The connection broke, or the server stopped being one that takes writes: passing, and everybody's trouble."""


class StoreRefused(StoreUnavailable):
    """The server is there and will not do this in that place, for no fault of a document's."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the database answered error {code}")
        self.code = code


class AccessDenied(StoreUnavailable):
    """The user may not do this here: not yet, or no longer."""


class DocumentError(SluiceError):
    """A document can never be stored as it is."""


class Unencodable(DocumentError):
    """BSON cannot hold the document; the message names only the kind of trouble."""


class WriteRefused(DocumentError):
    """The database refuses to put this document in another's place, for a reason of the document's own."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the database answered error {code}")
        self.code = code


class ProvisionError(SluiceError):
    """A tenant could not be brought to what its manifest says."""

    reason: Reason = NOT_PROVISIONED


class TenantConflict(ProvisionError):
    """The tenant id belongs to another owner."""

    reason = TENANT_ID_CONFLICT


class TenantRetained(TenantConflict):
    """The tenant id belongs to a former owner, whose database is kept."""

    reason = TENANT_ID_RETAINED


class TenantLeaving(ProvisionError):
    """The tenant id's owner is being deleted."""

    reason = DELETING


class NoRoom(ProvisionError):
    """The broker has no room for another lane."""

    reason = NO_ROOM_FOR_LANE


class SecretConflict(ProvisionError):
    """Where the tenant's secret belongs there is one that is not ours; it was left as it is."""

    reason = SECRET_CONFLICT


class TenantNotFound(ProvisionError):
    """There is no such tenant."""


def explain_validation(error: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, without the value that is, and the path to it (`$.limits.burstSeconds`)."""
    what, _, where = str(error).rpartition(" - at `")
    if not what:
        what, where = where, "$`"
    if what.startswith("Invalid enum value"):  # the only message of msgspec's that repeats a value
        what = "Not one of the values it may have"
    return what, where.removesuffix("`")
