"""The description of the interface as a page for people, at `/docs`.

Written here because every usual viewer loads itself from the network, which a cluster may not have. Invariants: it asks
for nothing else, runs no script, and shows what the OpenAPI document says and nothing more.
"""

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "code{background:#eee;padding:0 .2em}h2{margin-top:2em;border-bottom:1px solid #ccc}"
    "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2em .6em;text-align:left;vertical-align:top}"
    "p{margin:.3em 0}@media(prefers-color-scheme:dark){body{color:#ddd;background:#1c1c1c}code{background:#333}}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Page(OpenAPIRenderPlugin):
    """Renders the document as one piece of HTML."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page."""
        return render(openapi_schema, self.get_openapi_json_route(request)).encode()


def render(document: Mapping[str, Any], source: str) -> str:
    """An OpenAPI document as HTML; `source` is where it can be had as JSON."""
    title = escape(document["info"]["title"])
    body = "".join(
        _operation(path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><h1>{title}</h1>'
        f"{_text(document['info'].get('description'))}"
        f'<p>For programs: <a href="{escape(source)}">{escape(source)}</a></p>{body}</body></html>'
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    kinds = operation.get("requestBody", {}).get("content", {})
    bodies = "".join(
        f"<p>Body: <code>{escape(kind)}</code></p>{_table(_fields(content))}" for kind, content in kinds.items()
    )
    parameters = (
        (f"<code>{escape(one['name'])}</code>", escape(one["in"]), _text(one.get("description")))
        for one in operation.get("parameters", ())
    )
    responses = (
        (f"<code>{escape(status)}</code>", _text(one.get("description")))
        for status, one in operation.get("responses", {}).items()
    )
    return (
        f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2><p><b>{escape(operation['summary'])}</b></p>"
        f"{_text(operation.get('description'))}{bodies}{_table(parameters)}<h3>Answers</h3>{_table(responses)}"
    )


def _fields(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields of an object, or of the first object that a body may be."""
    schema = content.get("schema", {})
    schema = next(iter(schema.get("oneOf", ())), schema)
    for name, field in schema.get("properties", {}).items():
        yield f"<code>{escape(name)}</code>", _text(field.get("description"))


def _table(rows: Iterator[tuple[str, ...]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{lines}</table>" if lines else ""


def _text(text: str | None) -> str:
    """Paragraphs of plain text, in which `backticks` mark code."""
    marked = re.sub("`([^`]*)`", r"<code>\1</code>", escape(text or ""))
    return "".join(f"<p>{paragraph}</p>" for paragraph in marked.split("\n\n") if paragraph)
