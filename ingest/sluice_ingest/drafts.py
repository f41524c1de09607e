"""From bytes to drafts: what each media type means, before anybody asks whether it may be taken.

A draft is a record as it was sent. A whole body is decoded in one call; only when that finds something odd is it taken
apart record by record, so that one bad record costs its mates nothing but a little time. Invariant: positions in the
list are positions in the body as sent, and nothing sent is dropped without a Refusal in its place.
"""

from typing import Annotated, Any

import msgspec

from sluice_core.errors import Refusal
from sluice_core.reasons import (
    BODY_TOO_LARGE,
    EMPTY_BODY,
    INVALID_FIELD,
    INVALID_TEXT,
    MALFORMED_JSON,
    UNSUPPORTED_TYPE,
)


class Draft(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One record as sent. Fields it does not know become attributes, see `_fold`."""

    text: str | None = None
    data: str | None = None
    tenant_id: str | None = None
    log_id: str | None = None
    timestamp: str | int | float | None = None
    attributes: dict[str, Any] | None = None


class _Line(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A record that is a text and nothing else."""

    text: Annotated[str, msgspec.Meta(min_length=1)]


class Texts(msgspec.Struct, frozen=True):
    """The drafts of a batch of which each is a text and nothing else, as most are: nothing has to look at each."""

    texts: list[str]

    def drafts(self) -> list[Draft | Refusal]:
        """The same as drafts."""
        return [Draft(text=text) for text in self.texts]


Drafts = list[Draft | Refusal]

MAX_RECORDS = 100_000
"""Of one request: they are decoded and judged in one go, and what a record costs does not depend on its length."""
_MAX_BRACES = 4 * MAX_RECORDS
"""No batch of so many real records, nested attributes included, has more objects than this."""
_LEAST_PER_COMMA = 4
"""Bytes. Arrays with more commas than one in so many bytes hold numbers or nothing, not records."""
_SMALLEST = 2
"""Bytes of a record, its separator included: a body of fewer than this times `MAX_RECORDS` needs no counting."""

JSON, NDJSON, TEXT = "json_upload", "ndjson_upload", "text_upload"
_TYPES = {
    b"application/json": JSON,
    b"application/x-ndjson": NDJSON,
    b"application/ndjson": NDJSON,
    b"application/jsonl": NDJSON,
    b"text/plain": TEXT,
}
_CHARSETS = {b"utf-8", b"utf8", b"us-ascii"}

_line = msgspec.json.Decoder(_Line)
_lines = msgspec.json.Decoder(list[_Line])
_one = msgspec.json.Decoder(Draft)
_many = msgspec.json.Decoder(list[Draft])
_raw_many = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder()
_KNOWN = frozenset(Draft.__struct_fields__)


def read_source(content_type: bytes | None) -> str:
    """Which kind of upload a Content-Type announces. Raises Refusal with UNSUPPORTED_TYPE."""
    source = _TYPES.get(content_type or b"")
    if source is not None:
        return source
    kind, _, parameters = (content_type or b"").lower().partition(b";")
    source = _TYPES.get(kind.strip())
    if source is None:
        raise Refusal(UNSUPPORTED_TYPE)
    for parameter in parameters.split(b";"):
        name, _, value = parameter.strip().partition(b"=")
        if name == b"charset" and value.strip(b'"') not in _CHARSETS:
            raise Refusal(UNSUPPORTED_TYPE, "The only charset taken is utf-8.")
    return source


def read_drafts(source: str, body: bytes, *, split_lines: bool, headers_name_record: bool) -> Drafts | Texts:
    """The drafts of a body; `Texts` for a batch of JSON of the plainest kind.

    `headers_name_record` says that X-Tenant-ID or X-Log-ID was sent, which turns the text preamble off.
    Raises Refusal when the body as a whole cannot be read, or is empty.
    """
    counted = len(body) > _SMALLEST * MAX_RECORDS
    if counted and (source == NDJSON or split_lines) and body.count(b"\n") > MAX_RECORDS:
        raise _too_many()
    if source == TEXT:
        drafts = _read_text(body, split_lines=split_lines, preamble=not headers_name_record)
    elif (texts := _read_texts(source, body)) is not None:
        return texts
    elif source == NDJSON:
        drafts = _read_lines(body)
    else:
        drafts = _read_json(body)
    if not drafts:
        raise Refusal(EMPTY_BODY)
    if len(drafts) > MAX_RECORDS:
        raise _too_many()
    return drafts


def is_batch(source: str, body: bytes, *, split_lines: bool) -> bool:
    """Whether the sender sent a batch, be it of one, and so expects an answer about many."""
    return source == NDJSON or split_lines or (source == JSON and _is_array(body))


def _read_json(body: bytes) -> Drafts:
    try:
        if _is_array(body):
            if _has_many_objects(body):
                raise _too_many()
            return list(_many.decode(body))
        return [_one.decode(body)]
    except (msgspec.ValidationError, UnicodeDecodeError):
        pass  # well-formed, but something in it is odd: find out what, record by record
    except RecursionError:
        raise _too_deep() from None
    except msgspec.DecodeError as error:
        raise (_malformed(error) if body.strip() else Refusal(EMPTY_BODY)) from None
    if not _is_array(body):
        return [_read_one(body)]
    if len(body) > _SMALLEST * MAX_RECORDS and body.count(b",") > len(body) // _LEAST_PER_COMMA:
        raise _too_many()
    try:
        raws = _raw_many.decode(body)
        if len(raws) > MAX_RECORDS:
            raise _too_many()
        return [_read_one(raw) for raw in raws]
    except msgspec.DecodeError as error:
        raise _malformed(error) from None
    except UnicodeDecodeError:
        raise Refusal(INVALID_TEXT) from None
    except RecursionError:
        raise _too_deep() from None


def _read_texts(source: str, body: bytes) -> Texts | None:
    """None for anything else; mostly the first record says so."""
    if _has_many_objects(body) or (source == JSON and not _is_array(body)):
        return None
    try:
        # Of lines it also takes a record over two of them, or two on one, which line by line is refused: counting lines
        # to be equally strict costs a twentieth of a batch, and nothing is lost either way.
        plain = _line.decode_lines(body) if source == NDJSON else _lines.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Texts([one.text for one in plain]) if 0 < len(plain) <= MAX_RECORDS else None


def _is_array(body: bytes) -> bool:
    return body[:1] == b"[" or body.lstrip()[:1] == b"["


def _read_lines(body: bytes) -> Drafts:
    try:
        drafts = [] if _has_many_objects(body) else _one.decode_lines(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        drafts = []
    if drafts:
        return list(drafts)
    return [_read_one(line) for line in body.split(b"\n") if line.strip()]


def _read_one(raw: bytes | msgspec.Raw) -> Draft | Refusal:
    try:
        return _one.decode(raw)
    except UnicodeDecodeError:
        return Refusal(INVALID_TEXT)
    except RecursionError:
        return _too_deep()
    except msgspec.ValidationError:
        pass
    except msgspec.DecodeError as error:
        return _malformed(error)
    try:
        return _fold(_any.decode(raw))
    except msgspec.ValidationError as error:
        return Refusal(INVALID_FIELD, f"{error}.")
    except msgspec.DecodeError as error:  # the first decoder stopped at an odd field, before what is malformed
        return _malformed(error)
    except UnicodeDecodeError:
        return Refusal(INVALID_TEXT)
    except RecursionError:
        return _too_deep()


def _fold(value: Any) -> Draft:
    """A draft whose unknown fields have become attributes: shippers add fields of their own, and a 202 covers them."""
    if not isinstance(value, dict):
        raise msgspec.ValidationError("A record must be a JSON object")
    known = {name: value[name] for name in value.keys() & _KNOWN}
    draft = msgspec.convert(known, Draft)
    extra = {name: content for name, content in value.items() if name not in _KNOWN}
    if extra:
        own = draft.attributes or {}
        if both := extra.keys() & own.keys():
            raise msgspec.ValidationError(f"{len(both)} fields stand both in the record and in its attributes")
        draft.attributes = {**extra, **own}
    return draft


def _has_many_objects(body: bytes) -> bool:
    return len(body) > _SMALLEST * MAX_RECORDS and body.count(b"{") > _MAX_BRACES


def _too_many() -> Refusal:
    return Refusal(BODY_TOO_LARGE, f"One request may hold {MAX_RECORDS} records: send smaller batches.")


def _too_deep() -> Refusal:
    return Refusal(MALFORMED_JSON, "The JSON is nested too deeply.")


def _malformed(error: msgspec.DecodeError) -> Refusal:
    return Refusal(MALFORMED_JSON, f"{error}.")


def _read_text(body: bytes, *, split_lines: bool, preamble: bool) -> Drafts:
    if split_lines:
        return [_text_draft(line.removesuffix(b"\r")) for line in body.split(b"\n") if line.strip()]
    if not body:
        return []
    draft = _text_draft(body)
    if preamble and isinstance(draft, Draft):
        return [_read_preamble(draft)]
    return [draft]


def _text_draft(text: bytes) -> Draft | Refusal:
    try:
        return Draft(text=text.decode("utf-8"))
    except UnicodeDecodeError:
        return Refusal(INVALID_TEXT)


def _read_preamble(draft: Draft) -> Draft:
    """The draft that lines `tenant_id:`, `log_id:` and `data:` at the top describe, or the draft as it is.

    The text is everything after `data:`, to the end of the body.
    """
    found: dict[str, Any] = {}
    rest = draft.text or ""
    while rest:
        line, newline, after = rest.partition("\n")
        name, colon, value = line.partition(":")
        field = name.strip().lower()
        if not colon or field not in {"tenant_id", "log_id", "data"} or field in found:
            return draft
        if field == "data":
            found["text"] = value.removeprefix(" ") + (newline + after if after else "")
            return Draft(**found)
        found[field] = value.strip()
        rest = after
    return draft
