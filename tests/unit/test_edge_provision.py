"""Provisioning's pure decisions: the next revision, and what this release does not do yet."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from sluice_core.edge.provision import next_revision
from sluice_core.edge.registry import Claim, Owner
from sluice_core.limits import Limits
from sluice_core.tenant import KeyConfig, RedactionConfig, TenantConfig
from unit.fakes import config


def _claim(current: TenantConfig | None, revision: int) -> Claim:
    owner = Owner("default", "acme")
    now = datetime(2025, 1, 1, tzinfo=UTC)
    return Claim(id="acme", uid="u1", owner=owner, state="Active", revision=revision, config=current, claimed_at=now)


_CURRENT = config(revision=5, policy_revision=3, keys=(KeyConfig("default", "d"),))


def test_the_first_config_has_the_first_revision() -> None:
    made = next_revision(_claim(None, 0), config(revision=0))
    assert (made.revision, made.policy_revision) == (1, 1)


def test_an_id_that_had_a_life_before_goes_on_counting() -> None:
    made = next_revision(_claim(None, 41), config(revision=0))
    assert (made.revision, made.policy_revision) == (42, 42)


def test_nothing_changed_is_no_new_revision() -> None:
    wanted = msgspec.structs.replace(_CURRENT, revision=99, policy_revision=1)
    assert next_revision(_claim(_CURRENT, 5), wanted) is _CURRENT


@pytest.mark.parametrize(
    "change",
    [
        {"keys": ()},
        {"limits": Limits(max_record_bytes=5)},
        {"suspension": "Reject"},
        {"keep_original": False},
        {"retention_days": 7},
        {"lane": "t-acme"},
        {"uid": "u2"},
        {"state": "gone"},
    ],
)
def test_any_change_is_a_new_revision_of_the_same_policy(change: dict[str, Any]) -> None:
    wanted = msgspec.structs.replace(_CURRENT, **change)
    made = next_revision(_claim(_CURRENT, 5), wanted)
    assert made == msgspec.structs.replace(wanted, revision=6, policy_revision=3)


def test_another_policy_is_a_new_revision_of_both() -> None:
    made = next_revision(
        _claim(_CURRENT, 5), msgspec.structs.replace(_CURRENT, redaction=RedactionConfig({"email": "Keep"}))
    )
    assert (made.revision, made.policy_revision) == (6, 6)
