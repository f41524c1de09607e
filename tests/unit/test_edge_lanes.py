"""Listing streams: all of them, or none."""

import asyncio
from typing import Any, cast

import pytest

from sluice_core.edge.lanes import list_streams
from sluice_core.errors import BrokerUnavailable

PAGE = 3


class FakeBroker:
    """Knows these streams, and heard nothing of some of them."""

    def __init__(self, names: list[str], silent: set[str], says_so: bool) -> None:
        self._names = names
        self._silent = silent
        self._says_so = says_so
        self.calls = 0

    async def api(self, call: str, body: dict[str, int]) -> dict[str, Any]:
        assert call == "STREAM.LIST"
        self.calls += 1
        assert self.calls < 20, "it asks for ever"
        page = self._names[body["offset"] :][:PAGE]
        heard = [{"config": {"name": name}} for name in page if name not in self._silent]
        missing = [name for name in page if name in self._silent]
        more = {"missing": missing} if missing and self._says_so else {}
        return {"total": len(self._names), "streams": heard or None, **more}


def listed(names: str, silent: str = "", *, says_so: bool = True) -> str:
    return "".join(asyncio.run(list_streams(cast("Any", FakeBroker(list(names), set(silent), says_so)))))


@pytest.mark.parametrize("names", ["", "a", "abc", "abcd", "abcdefgh"])
def test_every_stream_is_listed_whatever_the_number_of_pages(names: str) -> None:
    assert listed(names) == names


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("silent", ["a", "b", "c", "ab", "abc", "d", "abcde"])
def test_a_list_without_some_is_none_and_is_not_asked_for_for_ever(silent: str, says_so: bool) -> None:
    with pytest.raises(BrokerUnavailable):
        listed("abcde", silent, says_so=says_so)
