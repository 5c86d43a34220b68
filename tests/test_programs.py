"""The helpers that run programs: without PATH, and forked as if they were started."""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path

import pytest

from .program_server import folder_of_programs
from .programs import command_of, run_program, run_well


@pytest.mark.parametrize("program", ["butler", "pipetask"])
def test_programs_run_without_an_activated_environment(program, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert f"Usage: {program} " in run_well(program, "--help").stdout
    done = subprocess.run(command_of(program, "--help"), capture_output=True, text=True, check=True)
    assert done.stdout == run_well(program, "--help").stdout


def test_forked_program_has_its_own_folder_environment_status_and_files(make_repo, tmp_path):
    make_repo(tmp_path / "repo")
    (tmp_path / "index.yaml").write_text("ours: repo\n")
    environment = os.environ | {"DAF_BUTLER_REPOSITORY_INDEX": "index.yaml"}
    assert (
        "known aliases: ours"
        in run_program("butler", "query-collections", "theirs", cwd=tmp_path, env=environment).stderr
    )
    done = run_program("butler", "query-collections", "repo", "--no-such", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such option" in done.stderr
    done = run_program("butler", "register-targets", "repo", "mine", "/dev/stdin", cwd=tmp_path, input="name,ra,dec\n")
    assert "/dev/stdin" in done.stderr


def test_forked_program_ends_when_it_is_killed(tmp_path):
    configuration = tmp_path / "butler.yaml"
    os.mkfifo(configuration)
    with subprocess.Popen([folder_of_programs() / "butler", "query-collections", tmp_path]) as program:
        # The program reads, and waits for what nobody writes.
        while (pipe := opened_for_writing(configuration)) is None:
            assert program.poll() is None
            time.sleep(0.01)
        events = select.poll()
        events.register(pipe, 0)
        assert not events.poll(100)
        program.kill()
    assert events.poll(10_000) == [(pipe, select.POLLERR)], "the program reads on"
    os.close(pipe)


def opened_for_writing(pipe: Path) -> int | None:
    """Return a file that writes into a pipe, or None where nobody reads from it."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
