"""Tenant files from the command line, checked completely before anything is done with the first.

Invariant: a file that is wrong anywhere changes nothing anywhere.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sluice_cli.policies import try_policy
from sluice_core.errors import ManifestError
from sluice_core.manifest import load_tenants
from sluice_core.tenant import Tenant

TenantFiles = Annotated[
    list[Path],
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="File of Tenants in YAML, - for standard input; may be given several times.",
    ),
]

_STANDARD_INPUT = Path("-")


def load_files(paths: Sequence[Path]) -> list[Tenant]:
    """The Tenants of all files. Raises ManifestError, naming the file."""
    tenants: list[Tenant] = []
    places: dict[str, Path] = {}
    for path in paths:
        for tenant in _load(path):
            if (other := places.get(tenant.tenant_id)) is not None:
                raise ManifestError(f"{path}: tenant {tenant.tenant_id} stands in {other} already")
            places[tenant.tenant_id] = path
            tenants.append(tenant)
    return tenants


def _load(path: Path) -> list[Tenant]:
    try:
        text = (sys.stdin.buffer.read() if path == _STANDARD_INPUT else path.read_bytes()).decode("utf-8")
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: this is not a text file in UTF-8") from None
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read ({error.strerror})", param_hint="--file") from None
    try:
        tenants = load_tenants(text)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None
    for tenant in tenants:
        try_policy(tenant.spec.redaction, f"{path}: {tenant.name}: spec.redaction")
    return tenants
