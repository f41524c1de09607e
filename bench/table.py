"""The result of a run, as a table for people and as JSON for comparison."""

import msgspec
from rich.console import Console
from rich.table import Table


class Row(msgspec.Struct):
    """One figure and the ceiling it is held against, both measured in this run."""

    what: str
    value: float
    unit: str
    ceiling: float | None = None
    ceiling_is: str = ""
    goal: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if not self.ceiling else self.value / self.ceiling


def show(rows: list[Row], console: Console) -> None:
    table = Table(title="Sluice, measured now on this machine; ratios are what counts", title_justify="left")
    for name in ("what", "measured", "ceiling", "ratio", "goal", "note"):
        table.add_column(name, justify="right" if name in {"measured", "ratio", "goal"} else "left")
    for row in rows:
        table.add_row(
            row.what,
            f"{row.value:,.0f} {row.unit}" if row.value >= 100 else f"{row.value:.2f} {row.unit}",
            f"{row.ceiling:,.0f} {row.ceiling_is}" if row.ceiling else "",
            f"{row.ratio:.2f}" if row.ratio is not None else "",
            f">= {row.goal}" if row.goal is not None else "",
            row.note,
        )
    console.print(table)
