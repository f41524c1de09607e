"""What can go wrong on the way to the API server.

    SluiceError
    └── KubeError            the API server did not do it
        ├── KubeUnavailable      no answer, or one that says to try again
        └── KubeRefused          it will not; carries status and reason
            ├── Conflict             something of that name is there, or was changed meanwhile
            └── Terminating          the namespace is going and takes nothing new

Invariant: a message names fields and reasons of the API's, never values: those may be secrets.
"""

from typing import Any

from sluice_core.errors import SluiceError


class KubeError(SluiceError):
    """The API server did not do what it was asked."""


class KubeUnavailable(KubeError):
    """No answer in time, no connection, or too much at once: try again."""


class KubeRefused(KubeError):
    """The API server answered that it will not."""

    def __init__(self, call: str, status: int, reason: str, fields: str = "") -> None:
        super().__init__(f"the API server refused {call}: {status} {reason}{fields}")
        self.status = status
        self.reason = reason


class Conflict(KubeRefused):
    """An object of that name is there already, or is not as it was read."""


class Terminating(KubeRefused):
    """The namespace is being deleted: what should be made in it would go with it."""


_RETRY = frozenset({408, 429, 500, 502, 503, 504})


def error_of(call: str, status: int, answer: Any) -> KubeError:
    """The error that an answer of the API server is; `answer` is its Status object, if it is one."""
    said = answer if isinstance(answer, dict) else {}
    reason = str(said.get("reason") or "")
    if status in _RETRY:
        return KubeUnavailable(f"the API server could not do {call} now: {status} {reason}")
    causes = (said.get("details") or {}).get("causes") or []
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return Terminating(call, status, reason)
    fields = ", ".join(sorted({str(cause["field"]) for cause in causes if cause.get("field")}))
    kind = Conflict if status == 409 else KubeRefused
    return kind(call, status, reason, f" ({fields})" if fields else "")
