"""The mistakes of doc/common_mistakes.md, made one after the other, with the messages and the remedies there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .program_server import folder_of_programs
from .programs import command_of
from .test_readme import PATIENCE, ROOT, environment

PAGE = ROOT / "doc" / "common_mistakes.md"
BLOCKS = re.findall(r"^```(sh|text) (mistake|remedy) ?(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
ATTEMPTS = 5
"""How often a pipeline is interrupted until that happens within a quantum."""


def run(folder: Path, commands: str) -> tuple[int, str]:
    """Run programs in a folder until one fails; return the last status, and what all printed."""
    done = subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=folder,
        env=environment(PATH=os.pathsep.join([str(folder_of_programs()), os.environ["PATH"]]), COLUMNS="200"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout


def interrupt(folder: Path, command: str) -> str:
    """Interrupt a pipeline in its third quantum, as Ctrl-C does; return what it printed."""
    printed = folder / "printed.txt"
    with open(printed, "w") as output:
        words = command_of(*shlex.split(command))
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment(COLUMNS="200"),
            stdout=output,
            stderr=output,
            # Otherwise Ctrl-C is ignored where the program that started the tests ignores it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    with process:
        while process.poll() is None and printed.read_text().count("Constructing task and executing quantum") < 3:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 1, printed.read_text()
    return printed.read_text()


def interrupt_within_a_quantum(folder: Path, command: str) -> str:
    """Repeat an interruption until it leaves a quantum with a part of its outputs."""
    repo, before = folder / "DATA", folder / "before"
    shutil.copytree(repo, before)
    for _ in range(ATTEMPTS):
        printed = interrupt(folder, command)
        _, listed = run(folder, "butler query-datasets DATA subtractDark_log --collections again")
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
    printed = ""
    for language, kind, detail, text in BLOCKS:
        if language == "text":
            assert_message(text, printed)
        elif detail == "interrupted":
            assert "Aborted!" in interrupt_within_a_quantum(tmp_path, text)
        elif detail == "file":
            name, *lines = text.splitlines()[:-1]
            (tmp_path / name.removeprefix("cat > ").removesuffix(" <<'END'")).write_text("\n".join(lines) + "\n")
        else:
            # Runs are named by the second in which pipetask starts.
            time.sleep(1.0 - time.time() % 1.0)
            status, printed = run(tmp_path, text)
            assert (status == 0) == (kind == "remedy" or detail in ("setup", "silent")), f"{text}\n{printed}"
    assert "0 of 2 spectra are out of date." in printed
