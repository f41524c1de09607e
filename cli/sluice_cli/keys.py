"""`sluice keys`: a tenant's ingest keys, by name.

Invariant: a key is shown once, when it is made, and alone on standard output, so that a script can take it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from sluice_cli.output import make_table
from sluice_cli.session import DEFAULT_DATA, DataDir, Json, TenantArgument, open_rights, run, session_of
from sluice_core.errors import ProvisionError
from sluice_core.tenant import KeyName

if TYPE_CHECKING:
    from sluice_core.edge.registry import IssuedKey

app = typer.Typer(
    help="Add, list and revoke the ingest keys of a tenant.", no_args_is_help=True, rich_markup_mode="markdown"
)

_MOST_KEYS = 8
"""As many as a manifest may name (`TenantSpec.keys`)."""


@app.command(epilog="Example: SLUICE_KEY=$(sluice keys add demo laptop)")
def add(
    context: typer.Context,
    tenant: TenantArgument,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Name of the new key; made up when left out.", show_default=False),
    ] = None,
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Make a key and print it; the tenant's other keys stay valid.

    It works within about a second. A later `sluice tenants apply` makes the keys those of its file again.
    """
    if name is not None:
        _check_name(name)
    session = session_of(context)
    made, key = run(_add(data, tenant, name))
    if json:
        session.json({"tenant": tenant, "name": made, "key": key})
    else:
        session.say(key)
        session.note(f"This is key {made} of tenant {tenant}. It works within about a second.")


async def _add(data: Path, tenant_id: str, name: str | None) -> tuple[str, str]:
    async with open_rights(data) as rights:
        claim = await rights.provisioner.find(tenant_id)
        names = [key.name for key in claim.keys]
        name = name or next(made for number in range(1, len(names) + 2) if (made := f"key-{number}") not in names)
        if name in names:
            raise ProvisionError(
                f"tenant {tenant_id} has a key {name} already: choose another name, or revoke it first"
            )
        if len(names) >= _MOST_KEYS:
            raise ProvisionError(f"tenant {tenant_id} has {_MOST_KEYS} keys, the most there can be: revoke one first")
        await rights.provisioner.set_keys(tenant_id, [*names, name])
        secret = rights.secrets.load(tenant_id)
        if secret is None or name not in secret.keys:
            raise ProvisionError(f"key {name} was made and is gone again: somebody else changed the keys, try again")
        return name, secret.keys[name]


@app.command("list", epilog="Example: sluice keys list demo")
def list_all(context: typer.Context, tenant: TenantArgument, data: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """List a tenant's keys by name and id. The id is the public part of a key: slk_<id>_...; the key is not shown."""
    session = session_of(context)
    keys = run(_list(data, tenant))
    if json:
        session.json([{"name": key.name, "key_id": key.key_id, "state": key.state} for key in keys])
    else:
        session.show(make_table(["name", "key id", "state"], [(key.name, key.key_id, key.state) for key in keys]))


async def _list(data: Path, tenant_id: str) -> "tuple[IssuedKey, ...]":
    async with open_rights(data) as rights:
        return (await rights.provisioner.find(tenant_id)).keys


@app.command(epilog="Example: sluice keys revoke demo laptop")
def revoke(
    context: typer.Context,
    tenant: TenantArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.", show_default=False)],
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Make a key invalid; it stops working within about a second. The tenant's other keys stay valid."""
    session = session_of(context)
    run(_revoke(data, tenant, name))
    if json:
        session.json({"tenant": tenant, "name": name, "revoked": True})
    else:
        session.say(f"key {name} of tenant {tenant} is revoked: it stops working within about a second")


async def _revoke(data: Path, tenant_id: str, name: str) -> None:
    async with open_rights(data) as rights:
        claim = await rights.provisioner.find(tenant_id)
        names = [key.name for key in claim.keys]
        if name not in names:
            raise ProvisionError(f"tenant {tenant_id} has no key {name}: `sluice keys list {tenant_id}` shows its keys")
        await rights.provisioner.set_keys(tenant_id, [other for other in names if other != name])


def _check_name(name: str) -> None:
    try:
        msgspec.convert(name, KeyName)
    except msgspec.ValidationError:
        raise typer.BadParameter(
            "a key's name is 1 to 40 of a-z 0-9 - and begins and ends with a letter or digit", param_hint="NAME"
        ) from None
