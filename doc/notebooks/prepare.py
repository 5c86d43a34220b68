"""Preparation of the notebooks: their common directory, and commands in the process of the kernel.

The first cell of a notebook, which the page does not show, runs this file.
`!butler` and the like do what they do in a terminal. Without a second
interpreter they take half of the time, most of which is imports. With the
argument ``new`` the directory is made, empty.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from IPython import get_ipython
from lsst.ctrl.mpexec.cli.pipetask import cli as pipetask
from lsst.daf.butler.cli.butler import cli as butler
from lsst.daf.butler.cli.utils import LogCliRunner

from spherex_simulator.command import simulate

PROGRAMS = {"butler": butler, "pipetask": pipetask, "spherex-simulate": simulate}


def run(command: str) -> None:
    """Run a command and print what it writes, with paths as seen from the directory.

    Raises
    ------
    RuntimeError
        If the command fails.
    """
    # Names in braces are variables of the notebook, as in any command of IPython.
    program, *arguments = shlex.split(shell.var_expand(command, depth=1))
    result = LogCliRunner().invoke(PROGRAMS[program], arguments, prog_name=program)
    # The handler of this command would write the messages of the next one, too.
    for handler in logging.getLogger().handlers[:]:
        logging.getLogger().removeHandler(handler)
    if result.exit_code:
        raise RuntimeError(f"{command}\n{result.output}") from result.exception
    sys.stdout.write(re.sub(f"(file://)?{re.escape(str(Path.cwd()))}/", "", result.output))


directory = Path(os.environ["SPHEREX_NOTEBOOKS"])
if sys.argv[1:] == ["new"]:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
os.chdir(directory)
shell = get_ipython()
shell.system = run
shell.run_line_magic("matplotlib", "inline")
