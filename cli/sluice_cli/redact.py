"""`sluice redact`: what a policy makes of lines, before any tenant is made to live with it.

Invariant: it reads and prints, and touches no stack; a line that cannot be redacted is never printed.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from rich.text import Text

from sluice_cli.output import make_table, plural, printable
from sluice_cli.session import Json, Session, session_of

if TYPE_CHECKING:
    from sluice_redact import Hit, Redactor

_CHUNK_BYTES = 1 << 16
_STANDARD_INPUT = "-"
_CANDIDATE_CHARACTERS = 60


def redact(
    context: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="Lines to redact; - for standard input.", show_default=False)
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            show_default=False,
            help="A Tenant, or what would be its spec.redaction, in YAML. Without it every detector replaces.",
        ),
    ] = None,
    stats: Annotated[bool, typer.Option("--stats", help="Print only how often each detector hit.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Print only lines with hits, before and after.")] = False,
    json: Json = False,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", show_default=False, help="Say what was considered in TEXT, and what became of it."
        ),
    ] = None,
) -> None:
    """Redact lines as a tenant's policy would, and count what was hit.

    The result goes to standard output, counts to standard error. With --json one object a line: its number, its text
    redacted, and the hits with their offsets in characters of the line as it was.

    The policy's own tests are run first. Hash shows `aaaaaaaaaaaaaaaa` where a token would be: the key is the tenant's.
    """
    session = session_of(context)
    if (file is None) == (explain is None):
        raise typer.BadParameter("give either a FILE (- for standard input) or --explain TEXT")
    if stats + diff + json > 1:
        raise typer.BadParameter("--stats, --diff and --json exclude each other")
    redactor = _redactor(policy)
    if explain is not None:
        _explain(session, redactor, explain)
        return
    assert file is not None  # noqa: S101 - checked above
    mode = "stats" if stats else "diff" if diff else "json" if json else "text"
    run = _Run(session, redactor, mode)
    if file == _STANDARD_INPUT:
        run.read(sys.stdin.buffer)
    else:
        try:
            with Path(file).open("rb") as stream:
                run.read(stream)
        except OSError as error:
            raise typer.BadParameter(f"{file} cannot be read ({error.strerror})", param_hint="FILE") from None
    run.close()


def _redactor(path: Path | None) -> "Redactor":
    from sluice_cli.policies import load_policy
    from sluice_redact import Redactor

    return Redactor() if path is None else Redactor(load_policy(path))


class _Run:
    """One pass over lines."""

    def __init__(self, session: Session, redactor: "Redactor", mode: str) -> None:
        self._session = session
        self._redactor = redactor
        self._mode = mode
        self._lines = 0
        self._lines_with_hits = 0
        self._left_out = 0
        self._counts: Counter[str] = Counter()

    def read(self, stream: BinaryIO) -> None:
        """Take the lines as they come, so that it works behind `tail -f` too."""
        for batch in _batches(stream):
            texts = [_decode(raw) for raw in batch]
            results = self._redactor.redact([text or "" for text in texts])
            for text, result in zip(texts, results, strict=True):
                self._lines += 1
                if text is None or isinstance(result, Exception):
                    self._left_out += 1
                    continue
                if result.hits:
                    self._lines_with_hits += 1
                    self._counts.update(result.hits)
                self._show(text, result.text, hit=bool(result.hits))

    def close(self) -> None:
        """Say how it was. Raises typer.Exit(1) when lines had to be left out."""
        summary = f"{plural(self._lines, 'line')}, {self._lines_with_hits:,} with hits"
        table = make_table(["detector", "hits"], self._counts.most_common(), right=["hits"])
        if self._mode == "stats":
            self._session.show(table)
            self._session.say(summary)
        elif self._mode != "json":
            self._session.err.print(table)
            self._session.note(summary)
        if self._left_out:
            self._session.fail(f"{plural(self._left_out, 'line')} left out: not UTF-8, or not to be redacted")
            raise typer.Exit(1)

    def _show(self, text: str, redacted: str, *, hit: bool) -> None:
        session = self._session
        if self._mode == "json":
            hits = self._redactor.scan(text) if hit else []
            session.json({"line": self._lines, "text": redacted, "hits": [_as_json(one) for one in hits]}, line=True)
        elif self._mode == "text":
            session.out.print(_coloured(redacted, self._redactor) if hit else Text(printable(redacted)), soft_wrap=True)
        elif self._mode == "diff" and hit:
            session.out.print(Text(f"{self._lines:>6} - ") + _struck(text, self._redactor.scan(text)), soft_wrap=True)
            session.out.print(Text(f"{'':>6} + ") + _coloured(redacted, self._redactor), soft_wrap=True)


def _batches(stream: BinaryIO) -> Iterator[list[bytes]]:
    rest = b""
    while chunk := stream.read1(_CHUNK_BYTES) if hasattr(stream, "read1") else stream.read(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]


def _decode(raw: bytes) -> str | None:
    try:
        return raw.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        return None


def _as_json(hit: "Hit") -> dict[str, object]:
    return {"detector": hit.detector, "start": hit.start, "end": hit.end}


def _coloured(redacted: str, redactor: "Redactor") -> Text:
    text = Text(printable(redacted))
    text.highlight_regex(redactor.mark_pattern, "bold green")
    return text


def _struck(text: str, hits: "list[Hit]") -> Text:
    line = Text()
    position = 0
    for hit in hits:
        line.append(printable(text[position : hit.start]))
        line.append(printable(text[hit.start : hit.end]), "bold red")
        position = hit.end
    return line.append(printable(text[position:]))


def _explain(session: Session, redactor: "Redactor", text: str) -> None:
    from sluice_redact.explain import explain

    rows = [
        (
            finding.detector,
            printable(text[finding.start : finding.end])[:_CANDIDATE_CHARACTERS],
            finding.what,
            finding.verdict,
        )
        for finding in explain(redactor, text)
    ]
    if rows:
        session.show(make_table(["detector", "candidate", "looks like", "verdict"], rows))
    else:
        session.note("nothing in it looks like anything that is redacted")
    [result] = redactor.redact([text])
    session.out.print(_coloured(result.text, redactor) if not isinstance(result, Exception) else Text(str(result)))
