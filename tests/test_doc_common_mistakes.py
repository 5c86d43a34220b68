"""The mistakes of doc/common_mistakes.md, made one after the other, with the messages and the remedies there."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from .test_readme import PATIENCE, ROOT

PAGE = ROOT / "doc" / "common_mistakes.md"
BLOCKS = re.findall(r"^```(sh|text) (mistake|remedy) ?(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
PROGRAMS = {
    "butler": ("lsst.daf.butler.cli.butler", "main"),
    "pipetask": ("lsst.ctrl.mpexec.cli.pipetask", "main"),
    "spherex-simulate": ("spherex_simulator.command", "simulate"),
}
"""Module and function of each program."""
ATTEMPTS = 5
"""How often a pipeline is interrupted until that happens within a quantum."""


class Shell:
    """Programs started in a directory, each in a process of its own that has loaded the modules before.

    Parameters
    ----------
    folder
        Working directory of the programs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "printed.txt"
        self._context = multiprocessing.get_context("forkserver")
        modules = [module for module, _ in PROGRAMS.values()]
        self._context.set_forkserver_preload([*modules, "spherex.cli.commands", "spherex.tasks"])

    def start(self, command: str) -> ForkServerProcess:
        """Start one program, whose output goes to the end of the file."""
        process = self._context.Process(target=give, args=(shlex.split(command), self.folder, self.output))
        process.start()
        return process

    def run(self, commands: str) -> tuple[int, str]:
        """Run programs until one fails; return the last status, and what all printed."""
        self.output.write_bytes(b"")
        for command in commands.splitlines():
            process = self.start(command)
            process.join(PATIENCE)
            assert process.exitcode is not None, command
            if process.exitcode != 0:
                break
        return process.exitcode, self.output.read_text()

    def interrupt(self, command: str) -> str:
        """Interrupt a pipeline in its third quantum, as Ctrl-C does; return what it printed."""
        self.output.write_bytes(b"")
        process = self.start(command)
        while process.is_alive() and self.output.read_text().count("Constructing task and executing quantum") < 3:
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGINT)
        process.join(PATIENCE)
        assert process.exitcode == 1, self.output.read_text()
        return self.output.read_text()


def give(words: list[str], folder: Path, output: Path) -> None:
    """Run a program in this process."""
    os.chdir(folder)
    os.environ["COLUMNS"] = "200"
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdin = open(os.devnull)
    # Otherwise Ctrl-C is ignored where the program that started the tests ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = words
    module, function = PROGRAMS[words[0]]
    sys.exit(getattr(importlib.import_module(module), function)())


def interrupt_within_a_quantum(shell: Shell, command: str) -> str:
    """Repeat an interruption until it leaves a quantum with a part of its outputs."""
    repo, before = shell.folder / "DATA", shell.folder / "before"
    shutil.copytree(repo, before)
    for _ in range(ATTEMPTS):
        printed = shell.interrupt(command)
        _, listed = shell.run("butler query-datasets DATA subtractDark_log --collections again")
        if listed.count("simulator") == 1 + printed.count("0 failed and"):
            return printed
        shutil.rmtree(repo)
        shutil.copytree(before, repo)
    pytest.fail(f"No quantum was interrupted in {ATTEMPTS} attempts.")


def assert_message(message: str, printed: str) -> None:
    """Fail unless the lines of a message are printed in their order; ... is any text, and so are breaks of lines."""
    lines = [" ".join(line.split()) for line in message.splitlines()]
    pattern = ".*".join(map(re.escape, lines)).replace(r"\.\.\.", ".*")
    assert re.search(pattern, " ".join(printed.split())), f"{message}\nis not in\n{printed}"


@pytest.mark.slow
def test_each_mistake_has_its_message_and_each_remedy_works(tmp_path: Path) -> None:
    shell, printed = Shell(tmp_path), ""
    for language, kind, detail, text in BLOCKS:
        if language == "text":
            assert_message(text, printed)
        elif detail == "interrupted":
            assert "Aborted!" in interrupt_within_a_quantum(shell, text)
        elif detail == "file":
            name, *lines = text.splitlines()[:-1]
            (tmp_path / name.removeprefix("cat > ").removesuffix(" <<'END'")).write_text("\n".join(lines) + "\n")
        else:
            status, printed = shell.run(text)
            assert (status == 0) == (kind == "remedy" or detail in ("setup", "silent")), f"{text}\n{printed}"
    assert "0 of 2 spectra are out of date." in printed
