"""Provisioning's pure decisions: the next revision, and what this release does not do yet."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import sluice_redact
from sluice_core.edge.provision import check_supported, next_revision
from sluice_core.edge.registry import Claim, Owner
from sluice_core.errors import ManifestError
from sluice_core.limits import Limits
from sluice_core.tenant import DETECTORS, KeyConfig, Tenant, TenantConfig, TenantSpec
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
    made = next_revision(_claim(_CURRENT, 5), msgspec.structs.replace(_CURRENT, detectors={"email": "Keep"}))
    assert (made.revision, made.policy_revision) == (6, 6)


def _tenant(**spec: Any) -> Tenant:
    return Tenant("default", "acme", "acme", msgspec.convert(spec, TenantSpec))


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"suspension": "Reject"},
        {"suspension": "Buffer"},
        {"suspension": "Drop"},
        {"original": "Drop"},
        {"lane": "Dedicated", "scaling": {"maxReplicas": 2}},
        {"redaction": {"detectors": {"email": "Keep", "phone": "Replace", "ipv6": "Keep"}}},
    ],
)
def test_what_this_release_does_is_taken(spec: dict[str, Any]) -> None:
    check_supported(_tenant(**spec))


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"redaction": {"custom": [{"name": "a", "pattern": "b"}]}}, "redaction.custom"),
        ({"redaction": {"tests": [{"input": "a", "expect": "b"}]}}, "redaction.tests"),
        ({"redaction": {"detectors": {"email": "Mask"}}}, "action Mask"),
        ({"redaction": {"detectors": {"email": "Hash"}}}, "action Hash"),
        ({"redaction": {"detectors": {"iban": "Replace"}}}, "detector"),
        ({"redaction": {"detectors": {"emial": "Keep"}}}, "detector"),
    ],
)
def test_what_it_does_not_do_yet_is_refused_rather_than_ignored(spec: dict[str, Any], named: str) -> None:
    with pytest.raises(ManifestError, match=named):
        check_supported(_tenant(**spec))


def test_the_detectors_that_may_be_named_are_those_that_exist() -> None:
    assert set(sluice_redact.DETECTORS) == DETECTORS
