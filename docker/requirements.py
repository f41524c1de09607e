"""Prints what a room's image has to install: the requirements of its extra in pyproject.toml, one a line.

pip would find them itself, but only together with our own code, and then every change of the code would install
everything again.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_OWN = re.compile(r"sluice\[([\w,-]+)\]")


def requirements(project: dict[str, Any], extra: str) -> list[str]:
    """Of an extra and of those of our own that it names, and what every part needs; sorted, each once."""
    optional = project["optional-dependencies"]
    common = project["dependencies"]

    def of(name: str) -> Iterator[str]:
        for requirement in optional[name]:
            if own := _OWN.fullmatch(requirement):
                for other in own[1].split(","):
                    yield from of(other)
            else:
                yield requirement

    return sorted({*common, *of(extra)})


def main() -> int:
    """Of the extra that the argument names."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    sys.stdout.write("\n".join(requirements(project, sys.argv[1])) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
