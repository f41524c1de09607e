"""Why a text is redacted as it is: every candidate, and what became of it.

It exists for people who ask why their line was changed, or why not. Invariant: it says what `Redactor` does, by asking
the same expressions and judges.
"""

from typing import NamedTuple

from sluice_redact.redactor import Redactor
from sluice_redact.scanner import Candidate


class Finding(NamedTuple):
    """One candidate: `text[start:end]`."""

    detector: str
    what: str
    start: int
    end: int
    verdict: str


def explain(redactor: Redactor, text: str) -> list[Finding]:
    """The candidates in the order of the text; those that are hits are the same that `Redactor.scan` returns.

    Raises `RedactionError` where `scan` does.
    """
    hits = {(hit.detector, hit.start, hit.end) for hit in redactor.scan(text)}
    view = redactor.view(text, [])
    findings: set[Finding] = set()
    for candidate in redactor.scanner.candidates(view.text):
        for start, end, name in view.back([(candidate.start, candidate.end, candidate.detector)]):
            findings.add(Finding(name, candidate.what, start, end, _verdict(candidate, (name, start, end), hits)))
    told = {(finding.detector, finding.start, finding.end) for finding in findings if finding.verdict == "hit"}
    for name, start, end in hits - told:
        rule = name in {rule.name for rule in redactor.policy.rules}
        what = "a rule of the tenant's own" if rule else "shows once its neighbour is gone"
        findings.add(Finding(name, what, start, end, "hit"))
    return sorted(findings, key=lambda finding: (finding.start, finding.end, finding.detector, finding.verdict))


def _verdict(candidate: Candidate, found: tuple[str, int, int], hits: set[tuple[str, int, int]]) -> str:
    if candidate.refusal is not None:
        return f"refused: {candidate.refusal.why}"
    if found in hits:
        return "hit"
    longer = any(start <= found[1] and found[2] <= end for _, start, end in hits)
    return "gives way to a longer hit" if longer else "gives way to its neighbour"
