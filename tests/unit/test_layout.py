"""How the repository is laid out: what no linter checks."""

import ast
from functools import cache
from pathlib import Path

import pytest

_REPO = Path(__file__).resolve().parents[2]
_PACKAGES = sorted(
    package for package in _REPO.glob("*/sluice_*") if package.is_dir() and (package / "__init__.py").exists()
)
_MODULES = sorted(module for package in _PACKAGES for module in package.rglob("*.py"))
_HELPERS = sorted(module for folder in ("bench", "tests/support") for module in (_REPO / folder).rglob("*.py"))


@cache
def _nodes(module: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(module.read_text())))


def _imports(module: Path) -> set[str]:
    found: set[str] = set()
    for node in _nodes(module):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


def _name(module: Path) -> str:
    return str(module.relative_to(_REPO))


def test_the_packages_are_found() -> None:
    assert {"sluice_core", "sluice_redact", "sluice_ingest", "sluice_worker"} <= {one.name for one in _PACKAGES}


@pytest.mark.parametrize("package", _PACKAGES, ids=lambda package: package.name)
def test_a_room_holds_one_package_and_is_none_itself(package: Path) -> None:
    room = package.parent
    assert not (room / "__init__.py").exists(), "operator/__init__.py would shadow the standard library"
    assert [one.name for one in room.glob("*/__init__.py")] == ["__init__.py"]


def test_no_folder_of_tests_is_a_package() -> None:
    assert [_name(one) for one in (_REPO / "tests").rglob("__init__.py")] == []


@pytest.mark.parametrize("module", [*_MODULES, *_HELPERS], ids=_name)
def test_a_module_has_at_most_300_lines(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 300


def test_exactly_one_module_imports_motor() -> None:
    assert [_name(one) for one in _MODULES if "motor" in _imports(one)] == ["core/sluice_core/edge/store.py"]


def _reads_environment(module: Path) -> bool:
    nodes = _nodes(module)
    attributes = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    }
    names = {
        alias.name for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "os" for alias in node.names
    }
    return bool((attributes | names) & {"environ", "environb", "getenv", "putenv"})


def test_the_environment_is_read_in_main_modules_only() -> None:
    assert [_name(one) for one in _MODULES if one.name != "__main__.py" and _reads_environment(one)] == []


@pytest.mark.parametrize("module", _MODULES, ids=_name)
def test_every_module_says_what_it_is_for(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))
