"""``butler``, ``pipetask``, ``bps`` and ``spherex-simulate`` in processes of their own, whatever PATH says."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from .program_server import PROGRAMS, folder_of_programs

_FUNCTIONS = PROGRAMS | {"bps": ("lsst.ctrl.bps.cli.bps", "main")}


def command_of(program: str, *words: object) -> list[str]:
    """Return the command that starts a program with the interpreter of the tests.

    In an EUPS stack the script is not beside the interpreter, and with an
    environment that is not activated not on PATH: its function is in both.

    Parameters
    ----------
    program
        ``butler``, ``pipetask``, ``bps`` or ``spherex-simulate``.
    *words
        Its arguments.
    """
    module, function = _FUNCTIONS[program]
    code = f"import sys; from {module} import {function}; sys.argv[0] = {program!r}; sys.exit({function}())"
    return [sys.executable, "-c", code, *map(str, words)]


def run_program(program: str, *words: object, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a program, ``bps`` excepted in a fork of `tests.program_server`; the status is left to the caller.

    Parameters
    ----------
    program, *words
        As for `command_of`.
    **kwargs
        Passed to `subprocess.run`.
    """
    if program not in PROGRAMS:
        return start_program(program, *words, **kwargs)
    command = [folder_of_programs() / program, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)


def start_program(program: str, *words: object, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a program that imports all it needs itself, and so obeys variables that are read at import.

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
