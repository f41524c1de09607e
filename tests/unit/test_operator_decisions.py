"""What the operator decides without asking anybody: conditions, caps, policies, backlog, comparison."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.errors import SettingsError
from sluice_core.heartbeat import IngestHeartbeat, WorkerHeartbeat
from sluice_core.limits import Limits
from sluice_core.manifest import API_VERSION, KIND, read_tenant
from sluice_core.reasons import (
    CAPPED,
    DEDICATED_NOT_ALLOWED,
    POLICY_INVALID,
    POLICY_TEST_FAILED,
    PROVISIONED,
    STORE_UNAVAILABLE,
    TENANT_ID_NOT_ALLOWED,
    WAITING,
)
from sluice_core.tenant import Redaction, Tenant
from sluice_operator.backlog import SharedBacklog
from sluice_operator.caps import Caps, clamp, default_limits, refuse_dedicated, refuse_id
from sluice_operator.conditions import (
    CREDENTIALS_READY,
    LANE_READY,
    PARTS,
    Condition,
    bad,
    difference,
    good,
    render,
    summarize,
    waiting,
)
from sluice_operator.kube.compare import holds
from sluice_operator.kube.errors import Conflict, KubeRefused, KubeUnavailable, Terminating, error_of
from sluice_operator.policy import judge
from sluice_operator.pulse import Pulse
from sluice_operator.settings import OperatorSettings, check_settings, split_list

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
LATER = datetime(2026, 3, 1, 13, 0, 0, tzinfo=UTC)


def tenant(namespace: str = "team-a", name: str = "team-a-logs", **spec: Any) -> Tenant:
    meta = {"name": name, "namespace": namespace}
    return read_tenant({"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": spec})


# -- conditions ----------------------------------------------------------------------------------------------


def test_all_good_is_ready() -> None:
    ready = summarize(map(good, PARTS))
    assert (ready.status, ready.reason) == ("True", PROVISIONED)


def test_ready_says_the_first_thing_that_is_wrong_and_not_what_waits_for_it() -> None:
    parts = [waiting(LANE_READY), bad(CREDENTIALS_READY, STORE_UNAVAILABLE, "no answer")]
    ready = summarize(parts)
    assert (ready.status, ready.reason, ready.message) == ("False", STORE_UNAVAILABLE, "no answer")
    assert summarize([waiting(LANE_READY)]).reason is WAITING


def test_what_was_capped_is_said_while_it_is_ready() -> None:
    ready = summarize(map(good, PARTS), capped=["limits.recordsPerSecond"])
    assert (ready.status, ready.reason) == ("True", CAPPED)
    assert "limits.recordsPerSecond" in ready.message


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = render([good(LANE_READY)], [], 1, NOW)
    assert first[0]["lastTransitionTime"] == "2026-03-01T12:00:00Z"
    again = render([Condition(LANE_READY, "True", CAPPED, "x")], first, 2, LATER)
    assert again[0]["lastTransitionTime"] == "2026-03-01T12:00:00Z"
    assert (again[0]["observedGeneration"], again[0]["reason"]) == (2, "Capped")
    changed = render([bad(LANE_READY, STORE_UNAVAILABLE)], again, 2, LATER)
    assert changed[0]["lastTransitionTime"] == "2026-03-01T13:00:00Z"
    assert changed[0]["reason"] == "StoreUnavailable"


def test_a_message_is_never_longer_than_the_api_takes() -> None:
    assert len(render([bad(LANE_READY, STORE_UNAVAILABLE, "x" * 9999)], [], 1, NOW)[0]["message"]) == 4096


@given(st.dictionaries(st.text(max_size=3), st.integers()), st.dictionaries(st.text(max_size=3), st.integers()))
def test_a_difference_merged_in_gives_what_is_wanted(before: dict[str, int], after: dict[str, int]) -> None:
    change = difference(before, after)
    assert {**before, **change} == {**before, **after}
    assert difference({**before, **change}, after) == {}


# -- caps ----------------------------------------------------------------------------------------------------


def test_what_is_above_a_cap_is_clamped_and_named() -> None:
    caps = Caps(max_replicas=3, limits={"records_per_second": 100, "max_batch_bytes": 5000})
    asked = tenant(
        lane="Dedicated",
        scaling={"minReplicas": 4, "maxReplicas": 9},
        limits={"recordsPerSecond": 1000, "maxBatchBytes": 4000},
    )
    clamped = clamp(asked, caps)
    assert clamped.capped == ("limits.recordsPerSecond", "scaling.maxReplicas", "scaling.minReplicas")
    scaling, limits = clamped.tenant.spec.scaling, clamped.tenant.spec.limits
    assert scaling is not None
    assert (scaling.min_replicas, scaling.max_replicas) == (3, 3)
    assert (limits.records_per_second, limits.max_batch_bytes) == (100, 4000)


def test_a_default_above_a_cap_is_lowered_without_a_word() -> None:
    caps = Caps(max_replicas=3, limits={"records_per_second": 100})
    clamped = clamp(tenant(lane="Dedicated"), caps)
    assert clamped.capped == ()
    assert clamped.tenant.spec.scaling is not None
    assert clamped.tenant.spec.scaling.max_replicas == 3
    assert default_limits(caps).records_per_second == 100
    assert default_limits(Caps()) == Limits()


@pytest.mark.parametrize(
    ("tenant_id", "allowed"),
    [
        ("team-a", True),
        ("team-a-x", True),
        ("team-a_x", True),
        ("team-ab", False),
        ("team", False),
        ("x-team-a", False),
    ],
)
def test_an_id_may_have_to_begin_with_the_namespace(tenant_id: str, allowed: bool) -> None:
    wanted = tenant(name="x", tenantId=tenant_id)
    assert refuse_id(wanted, Caps(id_policy="namespace")) == (None if allowed else TENANT_ID_NOT_ALLOWED)
    assert refuse_id(wanted, Caps()) is None


@pytest.mark.parametrize(
    ("namespaces", "others", "allowed"),
    [(("*",), 4, True), (("*",), 5, False), (("team-a", "b"), 0, True), (("b",), 0, False), ((), 0, False)],
)
def test_lanes_of_ones_own_are_allowed_where_and_how_many(
    namespaces: tuple[str, ...], others: int, allowed: bool
) -> None:
    caps = Caps(dedicated_namespaces=namespaces, max_dedicated_lanes=5)
    assert refuse_dedicated("team-a", others, caps) == (None if allowed else DEDICATED_NOT_ALLOWED)


# -- policies ------------------------------------------------------------------------------------------------


def redaction(**fields: Any) -> Redaction:
    return tenant(redaction=fields).spec.redaction


def test_a_policy_with_tests_that_pass_is_fine() -> None:
    tests = [{"input": "mail a@b.example", "expect": "mail [REDACTED]"}, {"input": "10.0.0.1", "expect": "10.0.0.1"}]
    assert judge(redaction(detectors={"ipv4": "Keep"}, tests=tests)) is None
    assert judge(redaction()) is None


def test_a_failing_test_is_named_by_its_number_and_not_by_its_text() -> None:
    tests = [{"input": "fine", "expect": "fine"}, {"input": "secret-1", "expect": "secret-2"}]
    fault = judge(redaction(tests=tests))
    assert fault is not None
    assert fault.reason is POLICY_TEST_FAILED
    assert "tests[1]" in fault.message
    assert "tests[0]" not in fault.message
    assert "secret" not in fault.message


def test_what_the_library_cannot_do_is_no_policy() -> None:
    for wrong in (redaction(custom=[{"name": "x", "pattern": "(?=sesame)"}]), redaction(detectors={"emial": "Keep"})):
        fault = judge(wrong)
        assert fault is not None
        assert fault.reason is POLICY_INVALID
        assert "sesame" not in fault.message


# -- backlog -------------------------------------------------------------------------------------------------


def ingest(number: int, **enqueued: int) -> IngestHeartbeat:
    return IngestHeartbeat(instance="i", number=number, seen=0, enqueued=enqueued)


def worker(number: int, lane: str = "standard", **settled: int) -> WorkerHeartbeat:
    return WorkerHeartbeat(instance="w", number=number, seen=0, lane=lane, settled=settled)


def test_backlog_is_what_was_put_in_minus_what_was_settled() -> None:
    backlog = SharedBacklog()
    for heartbeat in (ingest(1), worker(1), ingest(2, a=100, b=50), worker(2, a=30), ingest(3, a=120)):
        backlog.hear(heartbeat)
    assert backlog.size("a", 1000) == 90
    assert backlog.size("b", 1000) == 50
    assert backlog.size("b", 20) == 20, "no more than the lane holds"
    assert backlog.settled == {"a"}
    backlog.empty()
    assert backlog.size("a", 1000) == 0


def test_who_began_before_us_is_counted_from_where_we_began() -> None:
    backlog = SharedBacklog()
    backlog.hear(ingest(500, a=10**9))
    assert backlog.size("a", 10**12) == 0
    backlog.hear(ingest(501, a=10**9 + 7))
    assert backlog.size("a", 10**12) == 7


def test_backlog_is_never_below_zero_and_other_lanes_are_none_of_its_business() -> None:
    backlog = SharedBacklog()
    backlog.hear(worker(1, a=100))
    backlog.hear(ingest(1, a=40))
    assert backlog.size("a", 1000) == 40
    backlog.hear(WorkerHeartbeat(instance="o", number=1, seen=0, lane="t-a", settled={"a": 30}))
    assert backlog.size("a", 1000) == 40
    backlog.forget(["i"])
    backlog.hear(worker(1, a=10))
    assert backlog.size("a", 1000) == 30


# -- comparing objects -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "wanted"),
    [
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"cpu": "250m", "memory": "1Gi"}, {"cpu": "0.25", "memory": "1024Mi"}),
        ({"cpu": "2"}, {"cpu": 2}),
        ([{"name": "x", "v": 1}, {"name": "injected"}], [{"name": "x", "v": 1}]),
        ([{"name": "y"}, {"name": "x"}], [{"name": "x"}, {"name": "y"}]),
        ({}, {"env": [], "args": None, "text": "", "flag": False, "count": 0}),
        ({"emptyDir": {}}, {"emptyDir": {}}),
    ],
)
def test_an_object_holds_what_server_side_apply_would_leave(current: Any, wanted: Any) -> None:
    assert holds(current, wanted)


@pytest.mark.parametrize(
    ("current", "wanted"),
    [
        ({"a": 1}, {"a": 2}),
        ({}, {"a": {"b": 1}}),
        ({"cpu": "250m"}, {"cpu": "0.5"}),
        ([{"name": "x", "v": 1}], [{"name": "x", "v": 2}]),
        ([{"name": "x"}], [{"name": "z"}]),
        ([1, 2], [2, 1]),
        ([1], [1, 2]),
        ({"flag": True}, {"flag": False}),
        ({"labels": {"a": "b"}}, {"labels": {}}),
        (None, {"a": 1}),
    ],
)
def test_a_difference_that_applying_would_mend_is_seen(current: Any, wanted: Any) -> None:
    assert not holds(current, wanted)


_values = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text(max_size=4), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


@given(_values)
def test_everything_holds_itself(value: Any) -> None:
    assert holds(value, value)


# -- errors of the API server ----------------------------------------------------------------------------------


def test_an_error_of_the_api_is_told_without_values() -> None:
    cause = {"reason": "FieldValueInvalid", "field": "data.key", "message": 'Invalid value: "slk_secret"'}
    error = error_of("PUT /x", 422, {"reason": "Invalid", "message": "slk_secret", "details": {"causes": [cause]}})
    assert isinstance(error, KubeRefused)
    assert "data.key" in str(error)
    assert "slk_secret" not in str(error)


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (409, {"reason": "AlreadyExists"}, Conflict),
        (403, {"reason": "Forbidden", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}, Terminating),
        (403, {"reason": "Forbidden"}, KubeRefused),
        (503, None, KubeUnavailable),
        (429, {}, KubeUnavailable),
        (404, "not json", KubeRefused),
    ],
)
def test_an_error_of_the_api_is_what_its_status_says(status: int, answer: Any, kind: type[Exception]) -> None:
    assert type(error_of("GET /x", status, answer)) is kind


# -- the pulse, and settings -----------------------------------------------------------------------------------


def test_silent_timers_are_a_reason_to_be_started_again_but_having_no_tenants_is_none() -> None:
    now, tenants = 0.0, 0
    pulse = Pulse(45.0, lambda: tenants, lambda: now)
    now = 10_000.0
    assert pulse.alive()
    tenants = 3
    assert pulse.alive()
    now += 4 * 45 + 59
    assert pulse.alive()
    now += 2
    assert not pulse.alive()
    pulse.beat()
    assert pulse.alive()


def settings(**changes: Any) -> OperatorSettings:
    needed = ("nats_url", "nats_password", "nats_monitoring", "mongodb_uri", "mongodb_hosts", "mongodb_worker_password")
    return OperatorSettings(**{**dict.fromkeys((*needed, "namespace", "ingest_url"), "x"), **changes})


def test_settings_that_contradict_each_other_are_refused() -> None:
    check_settings(settings())
    for wrong in ({"drift_seconds": 61.0}, {"standard_min_replicas": 11}):
        with pytest.raises(SettingsError):
            check_settings(settings(**wrong))
    assert split_list(" a, b ,,c") == ("a", "b", "c")
    assert settings(watch_namespaces="").namespaces == ()
