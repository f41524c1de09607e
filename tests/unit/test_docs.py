"""The documents agree with the code and with each other."""

import ast
import re
from pathlib import Path

import pytest

from sluice_core import reasons

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_answer_that_ingest_can_give_is_documented_with_its_status() -> None:
    documented = set(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", (ROOT / "docs/http.md").read_text(), re.MULTILINE))
    assert documented == {(str(reason.status), code) for code, reason in reasons.ALL.items() if reason.status}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert missing == []


def test_every_setting_a_document_names_exists() -> None:
    known = {"SLUICE_NATS_SERVER", "SLUICE_MONGOD", "SLUICE_KEY"}
    for room in ("ingest", "worker", "operator"):
        text = (ROOT / room / f"sluice_{room}" / "settings.py").read_text()
        known |= {f"SLUICE_{name.upper()}" for name in re.findall(r"^    (\w+): ", text, re.MULTILINE)}
    named = {name for document in DOCUMENTS for name in re.findall(r"SLUICE_[A-Z_]+[A-Z]", document.read_text())}
    assert named - known - {"SLUICE_LANE", "SLUICE_DLQ"} == set()


GUARANTEES = (ROOT / "docs/guarantees.md").read_text()


def _tests() -> set[str]:
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(f"{path.stem.removeprefix('test_')}: {node.name.removeprefix('test_').replace('_', ' ')}")
    return found


def test_every_fault_in_the_table_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\| .*\|$", GUARANTEES.partition("## Faults, and what was seen")[2], re.MULTILINE)[1:]
    assert len(rows) > 10
    known = _tests()
    for row in rows[1:]:
        named = re.findall(r"`([^`]+: [^`]+)`", row)
        assert named, f"no test is named: {row}"
        assert set(named) <= known, f"no such test: {sorted(set(named) - known)}"


@pytest.mark.parametrize(("document", "fewest"), [("guarantees", 30), ("security", 14)])
def test_every_sentence_names_tests_that_exist(document: str, fewest: int) -> None:
    text = (ROOT / f"docs/{document}.md").read_text()
    sentences = re.findall(r"^\d+\. .*?(?=^\d+\. |^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(sentences) >= fewest
    known = _tests()
    for sentence in sentences:
        named = [" ".join(name.split()) for name in re.findall(r"`([^`]+: [^`]+)`", sentence)]
        assert named or "That is so because" in sentence, f"no test is named: {sentence}"
        assert set(named) <= known, f"no such test: {sorted(set(named) - known)}"
