"""``butler``, ``pipetask`` and ``bps`` in processes of their own, whatever PATH says."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

_MODULES = {
    "butler": "lsst.daf.butler.cli.butler",
    "pipetask": "lsst.ctrl.mpexec.cli.pipetask",
    "bps": "lsst.ctrl.bps.cli.bps",
}


def command_of(program: str, *words: object) -> list[str]:
    """Return the command that runs a program with the interpreter of the tests.

    In an EUPS stack the script is not beside the interpreter, and with an
    environment that is not activated not on PATH: its function is in both.

    Parameters
    ----------
    program
        ``butler``, ``pipetask`` or ``bps``.
    *words
        Its arguments.
    """
    code = f"import sys; from {_MODULES[program]} import main; sys.argv[0] = {program!r}; sys.exit(main())"
    return [sys.executable, "-c", code, *map(str, words)]


def run_program(program: str, *words: object, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a program; the status is left to the caller.

    Parameters
    ----------
    program, *words
        As for `command_of`.
    **kwargs
        Passed to `subprocess.run`.
    """
    return subprocess.run(command_of(program, *words), capture_output=True, text=True, check=False, **kwargs)


def run_well(program: str, *words: object, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a program that has to succeed, and show what it says where it does not."""
    done = run_program(program, *words, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done
