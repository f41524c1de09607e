"""Tenant configs as they travel through the bucket."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.limits import Limits
from sluice_core.tenant import CustomRule, KeyConfig, RedactionConfig, TenantConfig, decode_config, encode_config
from unit.strategies import tenant_ids, texts

_configs = st.builds(
    TenantConfig,
    tenant_id=tenant_ids,
    uid=st.text("0123456789abcdef", min_size=16, max_size=16),
    revision=st.integers(0, 2**53),
    state=st.sampled_from(["active", "gone"]),
    lane=tenant_ids,
    keys=st.lists(st.builds(KeyConfig, tenant_ids, st.text("0123456789abcdef", min_size=64, max_size=64))).map(tuple),
    limits=st.builds(Limits, max_record_bytes=st.integers(1, 2**20)),
    suspension=st.sampled_from(["Active", "Reject", "Buffer", "Drop"]),
    keep_original=st.booleans(),
    retention_days=st.integers(1, 3650),
    redaction=st.builds(
        RedactionConfig,
        st.dictionaries(texts, st.sampled_from(["Replace", "Keep"]), max_size=3),
        st.sampled_from(["Plain", "Named"]),
        st.lists(st.builds(CustomRule, name=st.just("mine"), pattern=st.text(min_size=1, max_size=9)), max_size=2).map(
            tuple
        ),
    ),
    policy_revision=st.integers(1, 2**53),
)


@given(_configs)
def test_a_config_is_read_back_as_it_was_written(config: TenantConfig) -> None:
    assert decode_config(encode_config(config)) == config


@given(_configs)
def test_equal_configs_give_equal_bytes(config: TenantConfig) -> None:
    detectors = dict(reversed(config.redaction.detectors.items()))
    turned = msgspec.structs.replace(config.redaction, detectors=detectors)
    assert encode_config(msgspec.structs.replace(config, redaction=turned)) == encode_config(config)


@given(_configs)
def test_fields_of_a_later_release_are_passed_over(config: TenantConfig) -> None:
    later = {**msgspec.to_builtins(config), "quota": {"a": 1}}
    assert decode_config(msgspec.json.encode(later)) == config


@given(st.binary(max_size=60))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        decode_config(data)


def test_a_config_in_itself_is_of_a_tenant_that_lives_and_keeps_its_originals() -> None:
    config = TenantConfig(tenant_id="a", uid="u", revision=1)
    assert (config.state, config.suspension, config.keep_original) == ("active", "Active", True)
    assert config.limits == Limits()
