"""`sluice tenants`: provisioning on the stack of this machine, from the files that `kubectl apply` takes too.

Invariant: all of it goes through the same provisioning as the operator's, and keys and passwords are shown only where
they are asked for.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from sluice_cli.confirm import Yes, confirm
from sluice_cli.manifests import TenantFiles, load_files
from sluice_cli.output import make_table, moment_text, plural
from sluice_cli.session import DEFAULT_DATA, DataDir, Json, Session, TenantArgument, open_rights, run, session_of
from sluice_core.errors import TenantNotFound
from sluice_core.names import dead_letter_subject, parked_subject
from sluice_core.tenant import Tenant

if TYPE_CHECKING:
    from sluice_core.edge.registry import Claim
    from sluice_local.operator_rights import OperatorRights

app = typer.Typer(help="Make, change, show and delete tenants.", no_args_is_help=True, rich_markup_mode="markdown")


@app.command("apply", epilog="Example: sluice tenants apply -f k8s/samples/tenant.yaml")
def apply_files(context: typer.Context, file: TenantFiles, data: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """Create the Tenants of a file, or bring them to what it says now.

    The same file works with `kubectl apply`. Keys are what spec.keys names: one that is left out is revoked. It takes
    effect within about a second; see the new keys with `sluice tenants show ID --secrets`.
    """
    session = session_of(context)
    tenants = load_files(file)
    results = run(_apply(session, data, tenants, chatter=not json))
    if json:
        session.json(results)


async def _apply(session: Session, data: Path, tenants: list[Tenant], *, chatter: bool) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    async with open_rights(data) as rights:
        for tenant in tenants:
            before = await rights.provisioner.registry.get(tenant.tenant_id)
            claim = await rights.provisioner.apply(tenant)
            result = _change(before, claim)
            results.append({"tenant": claim.id, "result": result, "lane": tenant.lane, "revision": claim.revision})
            if chatter:
                session.say(f"tenant {claim.id} {result}")
    if chatter:
        session.note("It takes effect within about a second. Keys: `sluice tenants show ID --secrets`.")
    return results


def _change(before: "Claim | None", now: "Claim") -> str:
    if before is None or before.uid != now.uid or before.config is None:
        return "created"
    if before.state != "Active":
        return "adopted again, with what it had stored"
    return "unchanged" if before == now else "changed"


@app.command("list", epilog="Example: sluice tenants list --json")
def list_all(context: typer.Context, data: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """List all tenants, deleted ones included as long as something is known of them."""
    session = session_of(context)
    rows = run(_list(data))
    if json:
        session.json(rows)
    else:
        columns = ["id", "state", "lane", "keys", "stored", "parked", "dead letters", "retention"]
        cells = [[*list(row.values())[:-1], plural(row["retention_days"], "day")] for row in rows]
        session.show(make_table(columns, cells, right=["keys", "stored", "parked", "dead letters"]))


async def _list(data: Path) -> list[dict[str, Any]]:
    async with open_rights(data) as rights:
        dead, parked = await _letters(rights)
        return [
            {
                "id": claim.id,
                "state": claim.state,
                "lane": claim.config.lane if claim.config else "-",
                "keys": len(claim.keys),
                "stored": await rights.provisioner.access.count(claim.id),
                "parked": parked.get(claim.id, 0),
                "dead_letters": dead.get(claim.id, 0),
                "retention_days": claim.config.retention_days if claim.config else 0,
            }
            for claim in await rights.provisioner.registry.all()
        ]


@app.command(epilog="Example: sluice tenants show demo --secrets")
def show(
    context: typer.Context,
    tenant: TenantArgument,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Show ingest keys and the reader's database URI too.")
    ] = False,
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Show one tenant: state, limits, policy, keys by name, how much is stored."""
    session = session_of(context)
    shown = run(_show(data, tenant, secrets=secrets))
    if json:
        session.json(shown)
        return
    for name, value in shown.items():
        session.say(f"{name.replace('_', ' ') + ':':<17}{_value_text(value)}")


async def _show(data: Path, tenant_id: str, *, secrets: bool) -> dict[str, Any]:
    async with open_rights(data) as rights:
        claim = await rights.provisioner.registry.get(tenant_id)
        if claim is None:
            raise TenantNotFound(f"there is no tenant {tenant_id}: `sluice tenants list` shows those there are")
        dead, parked = await _letters(rights)
        shown: dict[str, Any] = {
            "id": claim.id,
            "state": claim.state,
            "uid": claim.uid,
            "owner": f"{claim.owner.namespace}/{claim.owner.name}",
            "claimed_at": moment_text(claim.claimed_at),
            "revision": claim.revision,
            "deletion_policy": claim.deletion_policy,
            "stored": await rights.provisioner.access.count(claim.id),
            "parked": parked.get(claim.id, 0),
            "dead_letters": dead.get(claim.id, 0),
        }
        if config := claim.config:
            shown |= {
                "lane": config.lane,
                "suspension": config.suspension,
                "original": "Keep" if config.keep_original else "Drop",
                "retention_days": config.retention_days,
                "detectors": config.redaction.detectors,
                "rules": {rule.name: rule.action for rule in config.redaction.custom},
                "limits": msgspec.to_builtins(config.limits),
            }
        shown["keys"] = [{"name": key.name, "key_id": key.key_id, "state": key.state} for key in claim.keys]
        if secrets and (secret := rights.secrets.load(claim.id)):
            shown["secret_keys"] = secret.keys
            shown["mongodb_uri"] = secret.mongodb_uri
        return shown


@app.command(epilog="Example: sluice tenants delete team-a --yes")
def delete(
    context: typer.Context,
    tenant: TenantArgument,
    yes: Yes = False,
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Delete a tenant as its deletionPolicy says: Retain keeps its database, Delete erases it.

    Its keys stop working first; then what was accepted is finished; then its access goes. Running it again after an
    interruption goes on where it was.
    """
    session = session_of(context)
    policy = run(_policy(data, tenant))
    fate = "its database is kept" if policy == "Retain" else "everything it stored is erased"
    confirm(f"Delete tenant {tenant}? Its keys stop working; {fate}.", yes=yes)
    session.note(f"deleting {tenant}: waiting until nothing of it is on its way ...")
    claim = run(_delete(data, tenant))
    if json:
        session.json({"tenant": claim.id, "state": claim.state, "erased": claim.erased})
    elif claim.state == "Erased":
        counts = claim.erased
        nouns = {"documents": "document", "parked": "parked letter", "dead_letters": "dead letter"}
        gone = ", ".join(plural(counts.get(name, 0), noun) for name, noun in nouns.items())
        session.say(f"tenant {tenant} is erased: {gone}")
    else:
        session.say(f"tenant {tenant} is deleted; its database is retained, and comes back when it is applied again")


@app.command(epilog="Example: sluice tenants release team-a --yes")
def release(
    context: typer.Context,
    tenant: TenantArgument,
    yes: Yes = False,
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Let whoever applies a Tenant with this id next have it, and the database that was retained for its former owner.

    Otherwise only the same Tenant, by namespace and name, gets a retained database back.
    """
    session = session_of(context)
    confirm(f"Release {tenant}? The next Tenant with this id gets what was stored under it.", yes=yes)
    claim = run(_release(data, tenant))
    if json:
        session.json({"tenant": claim.id, "state": claim.state})
    else:
        session.say(f"tenant id {tenant} is released: the next Tenant that names it gets its database")


async def _release(data: Path, tenant_id: str) -> "Claim":
    async with open_rights(data) as rights:
        return await rights.provisioner.registry.release(tenant_id)


async def _policy(data: Path, tenant_id: str) -> str:
    async with open_rights(data) as rights:
        claim = await rights.provisioner.registry.get(tenant_id)
        if claim is None or claim.state not in {"Active", "Deleting"}:
            raise TenantNotFound(
                f"there is no tenant {tenant_id} to delete: `sluice tenants list` shows those there are"
            )
        return claim.deletion_policy


async def _delete(data: Path, tenant_id: str) -> "Claim":
    async with open_rights(data) as rights:
        return await rights.deletion.delete(tenant_id)


async def _letters(rights: "OperatorRights") -> tuple[dict[str, int], dict[str, int]]:
    """Dead letters and parked ones by tenant."""
    from sluice_core.edge.letters import count_by_tenant

    dead = await count_by_tenant(rights.broker, dead_letter_subject("*"))
    return dead, await count_by_tenant(rights.broker, parked_subject("*"))


def _value_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {content}" for name, content in value.items()) or "all as by default"
    if isinstance(value, list):
        return "; ".join(f"{key['name']} (id {key['key_id']}, {key['state']})" for key in value) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
