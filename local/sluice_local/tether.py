"""Becomes another program that cannot outlive the process which started it.

Run as `python -I -S tether.py PARENT_PID PROGRAM [ARGUMENT...]`, PROGRAM being an absolute path. A small program of
its own rather than a `preexec_fn`, since the latter runs Python between fork and exec of a process with threads.
Invariant on Linux: PROGRAM runs only while PARENT_PID does, also when that is killed with SIGKILL. Elsewhere the
kernel offers no such thing, and only an orderly stop ends it.
"""

import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_CANNOT_RUN = 127
"""What a shell answers for a program that cannot be run."""


def main(argv: list[str]) -> int:
    """Tie this process to its parent and replace it by the program; returns only where that failed."""
    parent, command = int(argv[1]), argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
        # The parent may have died before prctl, and then no signal comes.
        if os.getppid() != parent:
            return _CANNOT_RUN
        # Every stream and every tenant's database holds files open: the usual 1024 are soon too few.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Ignored signals stay ignored in the program that follows: this interpreter ignores some, and whoever started the
    # parent may have had more ignored (`nohup`, a shell's background).
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be run: {error.strerror}\n")
    return _CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv))
