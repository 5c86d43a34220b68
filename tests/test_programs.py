"""The helper that runs the programs does not need them on PATH."""

from __future__ import annotations

import pytest

from .programs import run_well


@pytest.mark.parametrize("program", ["butler", "pipetask"])
def test_programs_run_without_an_activated_environment(program, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert f"Usage: {program} " in run_well(program, "--help").stdout
