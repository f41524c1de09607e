"""Policies from files, and the policies of Tenants, tried before anybody is made to live with them.

Invariant: a policy that comes from here compiles and passes its own tests; an error says which test does not, by its
number, and quotes nothing.
"""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from sluice_cli.output import plural
from sluice_core.errors import ManifestError, explain_validation
from sluice_core.manifest import KIND, load_tenants
from sluice_core.tenant import Redaction
from sluice_redact import Policy, PolicyError, failing_cases, read_policy


def load_policy(path: Path) -> Policy:
    """The policy of a file: that of its one Tenant, or what would stand under `spec.redaction`.

    Raises ManifestError, naming the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError):
        raise ManifestError(f"{path}: this is not one document of YAML") from None
    if isinstance(document, dict) and document.get("kind") == KIND:
        try:
            [tenant] = load_tenants(text)
        except ManifestError as error:
            raise ManifestError(f"{path}: {error}") from None
        return try_policy(tenant.spec.redaction, f"{path}: {tenant.name}: spec.redaction")
    return try_policy(_redaction(document, path), str(path))


def try_policy(written: Redaction, where: str) -> Policy:
    """The policy, compiled and tested. Raises ManifestError, which begins with `where`."""
    try:
        policy = read_policy(written)
        failing = failing_cases(policy, written.tests)
    except PolicyError as error:
        raise ManifestError(f"{where}: {error}") from None
    if failing:
        raise ManifestError(
            f"{where}.tests: {plural(len(failing), 'case')} did not come out as expected: number"
            f" {', '.join(map(str, failing))}; try the lines with `sluice redact --policy` and without the tests"
        )
    return policy


def _redaction(document: Any, path: Path) -> Redaction:
    try:
        return msgspec.convert({} if document is None else document, Redaction)
    except msgspec.ValidationError as error:
        what, where = explain_validation(error)
        raise ManifestError(f"{path}: {where.removeprefix('$').removeprefix('.') or 'policy'}: {what}") from None
