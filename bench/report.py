"""The figures of a run, as a table for people, as a page for the repository and as JSON for comparison."""

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from bench.figures import Figure

_COLUMNS = ("bench", "what", "median", "spread", "ceiling", "ratio", "spread of it", "goal", "note")


def show(figures: Sequence[Figure], console: Console) -> None:
    table = Table(title="Sluice, measured now on this machine; ratios are what counts", title_justify="left")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in {"median", "spread", "ratio", "goal"} else "left")
    for figure in figures:
        table.add_row(*_cells(figure))
    console.print(table)


def page(figures: Sequence[Figure], about: Mapping[str, str]) -> str:
    """The run in Markdown."""
    lines = [
        "# Benchmark results",
        "",
        "Written by `make bench`: what that run measured, and nothing else.",
        "[Performance](../docs/performance.md) says what the figures mean.",
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
        "",
        "| " + " | ".join(_COLUMNS) + " |",
        "|" + "---|" * len(_COLUMNS),
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(figure)) + " |" for figure in figures),
    ]
    return "\n".join(lines) + "\n"


def _cells(figure: Figure) -> list[str]:
    ceiling = f"{_number(figure.ceiling)} {figure.ceiling_is}" if figure.ceiling is not None else ""
    goal = "" if figure.goal is None else f"{'reached' if figure.reached else 'missed'} {figure.goal}"
    return [
        figure.bench,
        figure.what,
        f"{_number(figure.value)} {figure.unit}",
        _spread(figure.values, _number),
        ceiling,
        f"{figure.ratio:.2f}" if figure.ratio is not None else "",
        _spread(figure.ratios, "{:.2f}".format) if figure.ceilings else "",
        goal,
        figure.note,
    ]


def _spread(values: Sequence[float], write: Callable[[float], str]) -> str:
    return f"{write(min(values))} to {write(max(values))}" if len(values) > 1 else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
