"""Writes the table of values into the chart's README, from the comments that begin with `# --` in values.yaml.

Invariant: every value that has no such comment is part of one that has, so none is missing from the table.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHART = Path(__file__).parent / "sluice"
BEGIN, END = "<!-- values -->", "<!-- /values -->"
_KEY = re.compile(r"^( *)([A-Za-z]\w*):")
_LONGEST = 60


class Row(NamedTuple):
    """One line of the table."""

    path: str
    default: str
    text: str


def read_rows(text: str) -> Iterator[Row]:
    """The documented values, in order. Raises ValueError for one that nothing documents."""
    values = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    documented: str | None = None
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("# -- "):
            comment = [bare.removeprefix("# -- ")]
        elif bare.startswith("#"):
            if comment:
                comment.append(bare.removeprefix("#").strip())
        elif match := _KEY.match(line):
            indent = len(match[1])
            while path and path[-1][0] >= indent:
                path.pop()
            path.append((indent, match[2]))
            name = ".".join(key for _, key in path)
            inside = documented is not None and name.startswith(documented + ".")
            if comment:
                documented = name
                yield from _rows(name, _at(values, name), " ".join(comment))
            elif not inside and not isinstance(_at(values, name), dict):
                raise ValueError(f"{name} has no comment that begins with # --")
            comment = []
        elif not bare:
            comment = []


def _at(values: Any, name: str) -> Any:
    for key in name.split("."):
        values = values[key]
    return values


def _rows(name: str, value: Any, text: str) -> Iterator[Row]:
    if name.endswith(".settings") and isinstance(value, dict):
        yield Row(name, "", text)
        for key, inner in value.items():
            yield Row(f"{name}.{key}", json.dumps(inner), "")
        return
    default = json.dumps(value)
    yield Row(name, default if len(default) <= _LONGEST else "see values.yaml", text)


def render_table(text: str) -> str:
    """The table of a values file in Markdown."""
    lines = ["| value | default | what it is |", "|---|---|---|"]
    for row in read_rows(text):
        default = f"`{row.default}`" if row.default and row.default != "see values.yaml" else row.default
        cells = (f"`{row.path}`", default, row.text.replace("|", "\\|"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def put_table(readme: str, table: str) -> str:
    """The README with this table between its marks."""
    before, _, rest = readme.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"the README has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> int:
    """Write it."""
    readme = CHART / "README.md"
    readme.write_text(put_table(readme.read_text(), render_table((CHART / "values.yaml").read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
