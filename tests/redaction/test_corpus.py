"""On the project's labelled corpus every detector finds nearly everything and harms nearly nothing."""

from pathlib import Path

import pytest

from sluice_redact import DETECTORS, Hit, Redactor
from support.corpus import Evaluation, evaluate, load, parse
from support.redaction_report import CORPUS, LEAST_PRECISION, LEAST_RECALL


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(load(sorted(CORPUS.glob("*.txt"))), Redactor().scan)


@pytest.mark.parametrize("detector", DETECTORS)
def test_recall_and_precision(detector: str, evaluation: Evaluation) -> None:
    score = evaluation.scores[detector]
    assert score.labelled >= 40
    assert score.recall >= LEAST_RECALL, [value for _, value, _ in evaluation.missed if value.detector == detector]
    assert score.precision >= LEAST_PRECISION, [hit for _, hit, _ in evaluation.false if hit.detector == detector]


def test_the_corpus_is_large_and_has_hard_negatives(evaluation: Evaluation) -> None:
    assert evaluation.records >= 600
    assert evaluation.negatives >= 250


def test_negatives_are_left_alone(evaluation: Evaluation) -> None:
    assert not evaluation.harmed


def test_a_label_is_taken_out_of_the_text() -> None:
    record = parse("ring ⟦phone:555-0199⟧ or⏎⟦email:a@b.co⟧.", "x:1")
    assert record.text == "ring 555-0199 or\na@b.co."
    assert record.values == (Hit("phone", 5, 13), Hit("email", 17, 23))


def test_the_evaluation_notices_misses_and_false_hits(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("## heading\n⟦email:a@b.co⟧ and ⟦ipv4:10.0.0.1⟧\n\nnothing\n", encoding="utf-8")
    result = evaluate(load([tmp_path / "x.txt"]), lambda text: [Hit("email", 0, 4), Hit("phone", 2, 3)])
    assert (result.scores["email"].recall, result.scores["email"].precision) == (0.0, 0.5)
    assert result.scores["ipv4"].recall == 0.0
    assert result.scores["phone"].precision == 0.0
    assert result.harmed == {"email": 1, "phone": 1}
    assert [place for place, _, _ in result.missed] == ["x.txt:2", "x.txt:2"]
