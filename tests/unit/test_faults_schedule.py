"""A schedule of faults is what its seed says, and hits what it has to."""

from itertools import pairwise

import pytest

from support.schedule import FIRST_MOMENT, LAST_MOMENT, OF_LINKS, PAUSES, TOGETHER, Kind, Target, draw, read_seeds

TARGETS = [Target("ingest", ours=True), Target("worker", ours=True), Target("broker"), Target("database")]
NAMES = {target.name for target in TARGETS}
SEEDS = range(200)


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert [draw(seed, TARGETS) for seed in SEEDS] == [draw(seed, TARGETS) for seed in SEEDS]


def test_another_seed_gives_another_schedule() -> None:
    assert len({str(draw(seed, TARGETS).faults) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_target_is_killed_and_two_at_nearly_the_same_moment(seed: int) -> None:
    kills = [fault for fault in draw(seed, TARGETS).faults if fault.kind is Kind.KILL]
    assert {fault.target for fault in kills} == NAMES
    assert any(
        abs(one.at - other.at) <= TOGETHER and one.target != other.target
        for number, one in enumerate(kills)
        for other in kills[:number]
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_come_in_order_within_the_time_and_only_pauses_last(seed: int) -> None:
    faults = draw(seed, TARGETS).faults
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    for fault in faults:
        assert FIRST_MOMENT <= fault.at <= LAST_MOMENT + TOGETHER
        if fault.kind is Kind.PAUSE:
            assert PAUSES[0] <= fault.seconds <= PAUSES[1]
        else:
            assert fault.seconds == 0


def test_only_our_own_parts_are_asked_to_stop() -> None:
    asked = {fault.target for seed in SEEDS for fault in draw(seed, TARGETS).faults if fault.kind is Kind.ASK}
    assert asked == {"ingest", "worker"}


def test_over_many_seeds_every_target_is_paused_too() -> None:
    paused = {fault.target for seed in SEEDS for fault in draw(seed, TARGETS).faults if fault.kind is Kind.PAUSE}
    assert paused == NAMES


LINKS = [Target("one link"), Target("another link")]


def test_what_is_drawn_for_links_changes_nothing_of_the_rest() -> None:
    for seed in SEEDS:
        faults = [fault for fault in draw(seed, TARGETS, LINKS).faults if fault.kind not in OF_LINKS]
        assert faults == draw(seed, TARGETS).faults


@pytest.mark.parametrize("seed", SEEDS)
def test_every_link_is_disturbed_for_a_while_and_by_one_fault_at_a_time(seed: int) -> None:
    faults = [fault for fault in draw(seed, TARGETS, LINKS).faults if fault.kind in OF_LINKS]
    assert {fault.target for fault in faults} == {link.name for link in LINKS}
    for link in LINKS:
        own = [fault for fault in faults if fault.target == link.name]
        assert all(PAUSES[0] <= fault.seconds <= PAUSES[1] for fault in own)
        assert all(one.at + one.seconds <= other.at for one, other in pairwise(own))


def test_over_many_seeds_every_link_is_disturbed_in_every_way() -> None:
    faults = [fault for seed in SEEDS for fault in draw(seed, TARGETS, LINKS).faults]
    found = {(fault.target, fault.kind) for fault in faults if fault.kind in OF_LINKS}
    assert found == {(link.name, kind) for link in LINKS for kind in OF_LINKS}


def test_a_schedule_can_be_read_by_a_person() -> None:
    text = str(draw(7, TARGETS))
    assert text.startswith("seed 7: ")
    assert "s kill -9 ingest" in text


@pytest.mark.parametrize(("text", "seeds"), [("7", [7]), ("7,9", [7, 9]), ("1-3", [1, 2, 3]), ("1-2,9", [1, 2, 9])])
def test_seeds_are_named_one_by_one_or_as_a_range(text: str, seeds: list[int]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "x", "3-1", "1,", "1-2-3"])
def test_what_names_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|holds no seed"):
        read_seeds(text)
