"""The one vocabulary of why something was not done as asked.

A reason's code is at once the problem body's `code`, the metric label, the dead letter's header and the condition's
reason, so that what a shipper sees, what a graph shows and what a person reads are one word. Invariant: codes are
unique, and a reason that a shipper should retry is never a 4xx other than 408 and 429, nor a 500.
"""

from typing import Final

import msgspec


class Reason(msgspec.Struct, frozen=True):
    """One entry of the vocabulary."""

    code: str
    """Stable, snake case; never renamed once released."""
    status: int
    """HTTP status when this refuses a request; 0 when it can only happen behind the 202."""
    retryable: bool
    """Whether the same request may succeed later without being changed."""
    sentence: str
    """For a person: what happened and what to do. Never contains data of the request."""

    @property
    def word(self) -> str:
        """The code as a condition's reason: `tenant_id_conflict` is `TenantIdConflict`."""
        return "".join(part.capitalize() for part in self.code.split("_"))


# -- the request as such ---------------------------------------------------------------------------------------------
MALFORMED_JSON: Final = Reason(
    "malformed_json", 400, False, "The body is not valid JSON: correct it and send it again."
)
MISSING_FIELD: Final = Reason("missing_field", 400, False, "A record needs a non-empty string `text` (or `data`).")
INVALID_FIELD: Final = Reason("invalid_field", 400, False, "A field has the wrong type or form: see `detail`.")
INVALID_TEXT: Final = Reason(
    "invalid_text", 400, False, "The text is not valid UTF-8: send it as UTF-8, it is never changed silently."
)
INVALID_HEADER: Final = Reason("invalid_header", 400, False, "A header has the wrong form: see `detail`.")
EMPTY_BODY: Final = Reason("empty_body", 400, False, "The body holds no record: send at least one.")
CORRUPT_ENCODING: Final = Reason(
    "corrupt_encoding", 400, False, "The body cannot be decoded as its Content-Encoding says: compress it again."
)
MALFORMED_REQUEST: Final = Reason(
    "malformed_request", 400, False, "This is not one well-formed HTTP/1.1 request: mend the client or what is between."
)
BODY_TIMEOUT: Final = Reason(
    "body_timeout", 408, True, "The body did not arrive in time: send smaller batches, or over a faster connection."
)
HEADERS_TOO_LARGE: Final = Reason(
    "headers_too_large", 431, False, "The headers are too large: send at most 64 KiB of them."
)
TRUNCATED_BODY: Final = Reason("truncated_body", 400, False, "The connection ended before the whole body was there.")
KEY_MISSING: Final = Reason(
    "key_missing", 401, False, "No key was sent: add the header `Authorization: Bearer <key of the tenant>`."
)
KEY_INVALID: Final = Reason("key_invalid", 401, False, "The key is not known or was revoked: use a current one.")
OTHER_TENANT: Final = Reason("other_tenant", 403, False, "The key belongs to another tenant than the request names.")
SUSPENDED: Final = Reason("suspended", 403, False, "The tenant is suspended: ask whoever runs the platform.")
DROPPING: Final = Reason("dropping", 410, False, "The tenant wants its logs dropped: throw this away and stop sending.")
TENANT_GONE: Final = Reason("tenant_gone", 403, False, "The tenant is being deleted: stop sending.")
NOT_FOUND: Final = Reason("not_found", 404, False, "There is nothing here: records go to POST /ingest.")
METHOD_NOT_ALLOWED: Final = Reason(
    "method_not_allowed", 405, False, "This route does not take that method: records go to POST /ingest."
)
BODY_TOO_LARGE: Final = Reason(
    "body_too_large", 413, False, "The body exceeds the tenant's limit: send smaller batches."
)
RECORD_TOO_LARGE: Final = Reason("record_too_large", 413, False, "A record exceeds the tenant's limit: shorten it.")
UNSUPPORTED_TYPE: Final = Reason(
    "unsupported_type",
    415,
    False,
    "Send application/json, application/x-ndjson or text/plain (charset utf-8).",
)
UNSUPPORTED_ENCODING: Final = Reason(
    "unsupported_encoding", 415, False, "Send Content-Encoding gzip, zstd or deflate, one only, or none."
)

# -- the tenant's share ----------------------------------------------------------------------------------------------
RATE_LIMITED: Final = Reason(
    "rate_limited", 429, True, "The tenant sends more than its limits allow: wait as Retry-After says, then go on."
)
BACKLOG_FULL: Final = Reason(
    "backlog_full", 429, True, "Too much of the tenant's is accepted and not stored yet: wait as Retry-After says."
)
SET_ASIDE_FULL: Final = Reason(
    "set_aside_full",
    429,
    True,
    "Too many of the tenant's records are parked or dead letters: mend its database, or clear them with `sluice dlq`.",
)

# -- our side of the connection --------------------------------------------------------------------------------------
NOT_READY: Final = Reason("not_ready", 503, True, "This replica has not read its tenants yet: try again in a moment.")
DRAINING: Final = Reason("draining", 503, True, "This replica is shutting down: try again, another one answers.")
OVERLOADED: Final = Reason("overloaded", 503, True, "Too much is waiting to be stored: try again in a moment.")
BROKER_UNAVAILABLE: Final = Reason(
    "broker_unavailable",
    503,
    True,
    "The record could not be made durable in time: send it again with the same Idempotency-Key or log_id.",
)
BROKER_FULL: Final = Reason("broker_full", 503, True, "The stream is full until workers catch up: try again later.")
PROVISIONING_FAILED: Final = Reason(
    "provisioning_failed",
    503,
    True,
    "The tenant could not be created on first use: see the stack's logs.",
)
INTERNAL: Final = Reason("internal", 500, False, "This is a bug in Sluice: please report it with the request id.")

# -- behind the 202 --------------------------------------------------------------------------------------------------
STORED: Final = Reason("stored", 0, False, "The record is in its tenant's database.")
DUPLICATE: Final = Reason("duplicate", 0, False, "The same record was already there; nothing was stored twice.")
REPLACED: Final = Reason("replaced", 0, False, "A newer record with the same id and other content took its place.")
OUTDATED: Final = Reason("outdated", 0, False, "A newer record with the same id and other content was already there.")
TENANT_UNKNOWN: Final = Reason("tenant_unknown", 0, False, "The record's tenant, or this provisioning of it, is gone.")
UNREADABLE_MESSAGE: Final = Reason("unreadable_message", 0, False, "The message is not an envelope of a known version.")
UNENCODABLE_RECORD: Final = Reason("unencodable_record", 0, False, "The record cannot be encoded as a document.")
WRITE_REFUSED: Final = Reason(
    "write_refused", 0, False, "The database refuses this record: mend the cause and replay it."
)
REDACTION_FAILED: Final = Reason(
    "redaction_failed",
    0,
    False,
    "The record could not be redacted, so it was not stored: mend the policy and replay it.",
)

CRASHED_WORKER: Final = Reason(
    "crashed_worker", 0, False, "The record ended the worker's process twice: report it, with the record if you may."
)
STORE_REFUSES: Final = Reason(
    "store_refuses", 0, False, "The tenant's database does not take records now: they are parked and tried again."
)
BUFFERED: Final = Reason("buffered", 0, False, "The tenant's suspension is Buffer: its records wait until that ends.")

# -- the Tenant object -----------------------------------------------------------------------------------------------
PROVISIONED: Final = Reason("provisioned", 0, False, "Everything that the tenant needs is there.")
CAPPED: Final = Reason("capped", 0, False, "All is there, with less of something than asked for: the platform caps it.")
NOT_PROVISIONED: Final = Reason("not_provisioned", 0, False, "The tenant is not as its manifest says yet.")
WAITING: Final = Reason("waiting", 0, False, "Something that this depends on is not there yet.")
DELETING: Final = Reason("deleting", 0, False, "The tenant is being deleted.")
TENANT_ID_CONFLICT: Final = Reason(
    "tenant_id_conflict", 0, False, "The tenant id belongs to another Tenant: choose another spec.tenantId."
)
TENANT_ID_RETAINED: Final = Reason(
    "tenant_id_retained",
    0,
    False,
    "The database of this id is kept for its former owner: choose another tenantId.",
)
TENANT_ID_NOT_ALLOWED: Final = Reason(
    "tenant_id_not_allowed", 0, False, "The platform wants ids that begin with the namespace: choose another tenantId."
)
DEDICATED_NOT_ALLOWED: Final = Reason(
    "dedicated_not_allowed", 0, False, "The platform does not allow another lane of one's own in this namespace."
)
NO_ROOM_FOR_LANE: Final = Reason("no_room_for_lane", 0, False, "The broker's disk has no room for another lane.")
TEMPLATE_MISSING: Final = Reason(
    "template_missing", 0, False, "The ConfigMap with the workers' pod template is missing or cannot be read."
)
SCALER_NOT_READY: Final = Reason("scaler_not_ready", 0, False, "KEDA cannot scale the lane's workers.")
LANE_MOVING: Final = Reason("lane_moving", 0, False, "New lines take the new lane; what is in the old one is finished.")
SECRET_CONFLICT: Final = Reason(
    "secret_conflict", 0, False, "A Secret of that name exists and is not ours: remove it or rename the Tenant."
)
STORE_UNAVAILABLE: Final = Reason("store_unavailable", 0, False, "The database does not answer: it is tried again.")
CLUSTER_REFUSED: Final = Reason("cluster_refused", 0, False, "The API server refuses what the tenant needs.")
INVALID_SPEC: Final = Reason("invalid_spec", 0, False, "The spec is not valid: see the message.")
POLICY_INVALID: Final = Reason("policy_invalid", 0, False, "The redaction policy cannot be used: see the message.")
POLICY_TEST_FAILED: Final = Reason(
    "policy_test_failed", 0, False, "A test of the redaction policy fails: the policy before stays in force."
)

ALL: Final = {reason.code: reason for reason in list(globals().values()) if isinstance(reason, Reason)}
