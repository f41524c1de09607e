"""What can go wrong with the embedded stack.

Invariant: every message is a sentence that says what to do next, and holds no secret; what a server printed is kept
apart from it, in `log_tail`.
"""

from sluice_core.errors import SluiceError


class LocalStackError(SluiceError):
    """The embedded stack cannot do what it was asked.

    `log_tail` holds the last lines of the log of the process concerned, or nothing.
    """

    def __init__(self, message: str, log_tail: str = "") -> None:
        super().__init__(message)
        self.log_tail = log_tail
        if log_tail:
            self.add_note(f"Last lines of its log:\n{log_tail}")


class ProgramNotFoundError(LocalStackError):
    """A program that the stack needs is not on this machine, or none that fits."""


class DataDirectoryInUseError(LocalStackError):
    """Another stack runs on the same data directory."""


class DataDirectoryDamagedError(LocalStackError):
    """A file in the data directory cannot be read or does not say what it should."""


class PortTakenError(LocalStackError):
    """Another program listens where a server of this stack has to."""


class ProcessFailedError(LocalStackError):
    """A child process stopped, or did not become ready in time."""
