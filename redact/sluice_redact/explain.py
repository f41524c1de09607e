"""Why a text is redacted as it is: every candidate, and what became of it.

It exists for people who ask why their line was changed, or why not. Invariant: it says what `Redactor` does, by asking
the same expressions and judges.
"""

from typing import NamedTuple

from sluice_redact.redactor import Redactor


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
        [(start, end, name)] = view.back([(candidate.start, candidate.end, candidate.detector)]) or [(0, 0, "")]
        if end <= start:
            continue
        if candidate.refusal is not None:
            verdict = f"refused: {candidate.refusal.why}"
        elif (name, start, end) in hits:
            verdict = "hit"
        elif any(first <= start and end <= last for _, first, last in hits):
            verdict = "gives way to a longer hit"
        else:
            verdict = "gives way to its neighbour"
        findings.add(Finding(name, candidate.what, start, end, verdict))
    told = {(finding.detector, finding.start, finding.end) for finding in findings if finding.verdict == "hit"}
    for name, start, end in hits - told:
        rule = name in {rule.name for rule in redactor.policy.rules}
        what = "a rule of the tenant's own" if rule else "shows once its neighbour is gone"
        findings.add(Finding(name, what, start, end, "hit"))
    return sorted(findings, key=lambda finding: (finding.start, finding.end, finding.detector, finding.verdict))
