"""How fast lines are redacted, against the same detectors run by Python's `re`, one expression after the other.

Both do the whole work: the same expressions nominate, the same judges decide. What differs is that ours asks one engine
once for many lines. A second row shows that time grows with the length of a text and not faster, on texts made to hurt.
"""

import re
import time
from collections.abc import Callable, Sequence

from bench.figures import Collected, Figure
from bench.options import Options
from sluice_redact import Redactor
from sluice_redact.detectors import REGISTRY
from sluice_redact.detectors.model import Refusal

_BATCH = 1000
_ROUNDS = 3
_RE_LINES = 2000
_SHORT = 128 << 10
_LONG = 1 << 20
HOSTILE = (
    "eyJ", "a@b.", "@", "://x:", "password=", '"password":"', "-----BEGIN RSA PRIVATE KEY-----", "+1", "0171 ",
    "phone ", "Authorization: ", "1.1.1.1.", "AKIA", "4111 ", "[REDACTED]", "****", "::", "12:", "ghp_", "call 1 2 ",
    "call 415 555 2671 ", "DE89 3704 ", "\\", '{"a":', "10.0.0.1 ", "a@b.co ", "555-0199 ",
)  # fmt: skip


def measure(options: Options) -> list[Figure]:
    """Lines redacted in one thread, and texts made to hurt, by processor time."""
    found = Collected("redact")
    lines = options.lines
    redactor = Redactor()
    few = lines[:: max(1, len(lines) // _RE_LINES)]
    naive = _naive()
    for _ in range(options.repeats):
        ours = len(lines) / _best(lambda: _redact(redactor, lines))
        theirs = len(few) / _best(lambda: [naive(line) for line in few])
        found.add(
            "redaction of lines, 1 thread", ours, "lines/s", ceiling=theirs,
            ceiling_is="lines/s, the same detectors by `re`", goal=10.0,
        )  # fmt: skip
    rates = {piece: _rates(redactor, piece) for piece in HOSTILE}
    worst = min(rates, key=lambda piece: rates[piece][1] / rates[piece][0])
    short, long = rates[worst]
    found.add(
        "redaction of 1 MiB made to hurt", long, "MB/s", ceiling=short, ceiling_is="MB/s, 128 KiB of the same",
        goal=0.5, note=repr(worst),
    )  # fmt: skip
    return found.figures()


def _redact(redactor: Redactor, lines: Sequence[str]) -> None:
    for start in range(0, len(lines), _BATCH):
        redactor.redact(lines[start : start + _BATCH])


def _naive() -> Callable[[str], list[tuple[int, int, str]]]:
    expressions = [
        (detector.name, expression.judge, re.compile(expression.pattern.encode(), re.IGNORECASE * expression.caseless))
        for detector in REGISTRY
        for expression in detector.expressions
    ]

    def scan(line: str) -> list[tuple[int, int, str]]:
        data = b"\xff" + line.encode()
        hits: list[tuple[int, int, str]] = []
        vetoes: set[tuple[str, int]] = set()
        for name, judge, pattern in expressions:
            for match in pattern.finditer(data):
                if judge is None:
                    vetoes.add((name, match.end()))
                    continue
                verdict = judge(line, max(match.start() - 1, 0), match.end() - 1)
                if not isinstance(verdict, Refusal) and (name, match.end()) not in vetoes:
                    hits.append((*verdict, name))
        return hits

    return scan


def _rates(redactor: Redactor, piece: str) -> tuple[float, float]:
    """Megabytes a second of a short and a long text of nothing but the piece."""
    rates = []
    for size in (_SHORT, _LONG):
        text = piece * (size // len(piece))
        rates.append(len(text) / 1e6 / _best(lambda text=text: redactor.redact([text]), rounds=1))  # type: ignore[misc]
    return rates[0], rates[1]


def _best(work: Callable[[], object], rounds: int = _ROUNDS) -> float:
    best = float("inf")
    for _ in range(rounds):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return best
