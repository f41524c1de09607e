"""`sluice tenants release`: a retained id for whoever comes next."""

from pathlib import Path

from cli.commands import TENANT, Stack


def test_a_retained_id_goes_to_somebody_else_only_after_it_was_released(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "tenant.yaml"
    file.write_text(TENANT.format(name="released", spec="{}"))
    stack.ask("tenants", "apply", "-f", file)
    assert "nothing is retained" in stack.fail("tenants", "release", "released", "--yes")
    assert stack.ask("tenants", "delete", "released", "--yes")["state"] == "Retained"
    file.write_text(TENANT.format(name="stranger", spec="{tenantId: released}"))
    assert "kept for a former owner" in stack.fail("tenants", "apply", "-f", file)
    assert "add --yes" in stack.fail("tenants", "release", "released", code=2)
    assert stack.ask("tenants", "release", "released", "--yes") == {"tenant": "released", "state": "Retained"}
    [applied] = stack.ask("tenants", "apply", "-f", file)
    assert applied["result"] == "adopted again, with what it had stored"
