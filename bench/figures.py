"""What a run found out: figures, each beside the ceiling it is held against.

Invariant: a figure and its ceiling were measured in the same run, one right after the other as often as it was
repeated, so whatever else the machine did is in both.
"""

from statistics import median

import msgspec


class Figure(msgspec.Struct, kw_only=True):
    """One figure, measured once or several times."""

    bench: str
    what: str
    unit: str
    values: list[float]
    ceilings: list[float] = []
    """Of the same repeats, in the same unit."""
    ceiling_is: str = ""
    goal: float | None = None
    """What the ratio should be at least."""
    note: str = ""

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def ceiling(self) -> float | None:
        return median(self.ceilings) if self.ceilings else None

    @property
    def ratios(self) -> list[float]:
        return [value / ceiling for value, ceiling in zip(self.values, self.ceilings, strict=True)]

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.ceilings else None

    @property
    def reached(self) -> bool:
        """Whether the goal is; without one it is."""
        return self.goal is None or (self.ratio or 0.0) >= self.goal


class Collected:
    """Figures that grow with each repeat."""

    def __init__(self, bench: str) -> None:
        self._bench = bench
        self._figures: dict[str, Figure] = {}

    def add(
        self, what: str, value: float, unit: str, *, ceiling: float | None = None, ceiling_is: str = "",
        goal: float | None = None, note: str = "",
    ) -> None:  # fmt: skip
        """One more value of the figure called `what`; the last note stays."""
        figure = self._figures.get(what)
        if figure is None:
            figure = self._figures[what] = Figure(
                bench=self._bench, what=what, unit=unit, values=[], ceilings=[], ceiling_is=ceiling_is, goal=goal
            )
        figure.values.append(value)
        figure.note = note
        if ceiling is not None:
            figure.ceilings.append(ceiling)

    def figures(self) -> list[Figure]:
        return list(self._figures.values())
