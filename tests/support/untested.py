"""Tests that need what not every machine has: they are skipped, and the run says at its end what was not tested.

Invariant: a skipped test is never taken for a passed one, whichever process of the run skipped it.
"""

import re
from collections import Counter
from collections.abc import Callable

import pytest


def skip(item: pytest.Item, need: str, missing: str) -> None:
    """Leave a test out. `need` is a sentence's beginning that `missing` ends, and by which `report` finds it again."""
    item.add_marker(pytest.mark.skip(reason=f"{need} {missing}"))


def report(terminalreporter: pytest.TerminalReporter, need: str, sentence: Callable[[int, str], str], see: str) -> None:
    """A section on the tests that were left out for this need: how many, and what was missing."""
    # From the reports, which also come from other processes.
    reasons = [str(one.longrepr) for one in terminalreporter.stats.get("skipped", ())]
    untested = Counter(found[1] for reason in reasons if (found := re.search(rf"{re.escape(need)} ([^'\"]+)", reason)))
    if untested:
        terminalreporter.section("NOT TESTED", red=True)
        for missing, tests in untested.items():
            terminalreporter.line(sentence(tests, missing))
        terminalreporter.line(see)
