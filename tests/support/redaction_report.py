"""`make redaction-report`: precision and recall of each detector on labelled records, and what was wrong.

With files or folders as arguments, on those instead of the project's own corpus; `--details` lists every miss and every
false hit. Exit 1 when a detector is below the goals.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sluice_redact import DETECTORS, Hit, Redactor
from support.corpus import Evaluation, evaluate, load

CORPUS = Path(__file__).parents[1] / "redaction" / "corpus"
LEAST_RECALL = 0.97
LEAST_PRECISION = 0.99


def below_goal(evaluation: Evaluation) -> list[str]:
    """The detectors whose recall or precision is not good enough."""
    return [
        name
        for name, score in evaluation.scores.items()
        if score.recall < LEAST_RECALL or score.precision < LEAST_PRECISION
    ]


def _show(evaluation: Evaluation, console: Console) -> None:
    table = Table(
        title=f"{evaluation.records} records, {evaluation.negatives} of them without anything to find",
        title_justify="left",
    )
    table.add_column("detector")
    for name in ("labelled", "found", "recall", "exact", "hits", "right", "precision"):
        table.add_column(name, justify="right")
    for name in sorted(evaluation.scores, key=DETECTORS.index):
        score = evaluation.scores[name]
        table.add_row(
            name,
            str(score.labelled),
            str(score.found),
            f"{score.recall:.3f}",
            f"{score.exact / max(score.labelled, 1):.3f}",
            str(score.hits),
            str(score.right),
            f"{score.precision:.3f}",
        )
    console.print(table)


def _list(title: str, rows: list[tuple[str, Hit, str]], console: Console) -> None:
    for place, hit, text in rows:
        console.print(
            f"{title} {place} {hit.detector} {text[hit.start : hit.end]!r} in {text!r}", markup=False, soft_wrap=True
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make redaction-report", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, default=[CORPUS])
    parser.add_argument("--details", action="store_true", help="list every miss and every false hit")
    options = parser.parse_args()
    files = [file for path in options.paths for file in (sorted(path.glob("*.txt")) if path.is_dir() else [path])]
    evaluation = evaluate(load(files), Redactor().scan)
    console = Console()
    _show(evaluation, console)
    if options.details:
        _list("missed", evaluation.missed, console)
        _list("false ", evaluation.false, console)
    low = below_goal(evaluation)
    if low:
        console.print(f"Below recall {LEAST_RECALL} or precision {LEAST_PRECISION}: {', '.join(low)}")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
