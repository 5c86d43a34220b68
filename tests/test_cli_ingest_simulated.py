from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from spherex.cli import get_cli_subcommands

from .ingest_helpers import butler_command, ingest, write_file, write_files
from .programs import run_program

MANIFEST = Path(__file__).parents[1] / "python" / "spherex" / "cli" / "resources.yaml"


def run_butler(*args: object, plugins: str | None = None) -> subprocess.CompletedProcess:
    """Run ``butler`` in another process."""
    environment = {key: value for key, value in os.environ.items() if key != "DAF_BUTLER_PLUGINS"}
    if plugins is not None:
        environment["DAF_BUTLER_PLUGINS"] = plugins
    return run_program("butler", *args, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plugins", [None, "", str(MANIFEST), f"{MANIFEST}:", f":{MANIFEST.parent}/../cli/resources.yaml"]
)
def test_command_is_there_once(plugins: str | None) -> None:
    done = run_butler("--help", plugins=plugins)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ingest-simulated") == 1
    assert done.stderr == ""


def test_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAF_BUTLER_PLUGINS", raising=False)
    names = [command.name for command in get_cli_subcommands()]
    assert names == [
        "check-provenance",
        "create-spherex",
        "decertify-calibrations",
        "export-spectra",
        "find-archive",
        "find-images",
        "ingest-calibrations",
        "ingest-level2",
        "ingest-simulated",
        "list-calibrations",
        "make-spectrum",
        "register-targets",
        "stale-spectra",
    ]
    assert all(isinstance(command, click.Command) for command in get_cli_subcommands())
    monkeypatch.setenv("DAF_BUTLER_PLUGINS", f"/elsewhere/resources.yaml:{MANIFEST}")
    assert list(get_cli_subcommands()) == []


def test_manifest_lists_the_commands() -> None:
    import yaml

    import spherex.cli.commands as commands

    manifest = yaml.safe_load(MANIFEST.read_text())
    assert manifest["cmd"]["import"] == "spherex.cli.commands"
    assert manifest["cmd"]["commands"] == [getattr(commands, name).name for name in commands.__all__]


def test_nothing_heavy_is_imported_for_help(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where the manifest lists the commands, the entry point imports none.
    monkeypatch.delenv("DAF_BUTLER_PLUGINS", raising=False)
    code = """
import sys
import lsst.daf.butler.cli.butler, lsst.daf.butler.cli.cmd
before = set(sys.modules)
from spherex.cli import get_cli_subcommands
get_cli_subcommands()
new = set(sys.modules) - before
light = {"spherex.detectors", "spherex.errors", "spherex.numbers", "spherex.remote"}
assert new == {"spherex", "spherex.cli", "spherex.cli.commands", *light}, new
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_names_the_options() -> None:
    text = butler_command("ingest-simulated", "--help").output
    for option in (
        "--regex",
        "--ingest-type",
        "--output-run",
        "--transfer",
        "--group",
        "--processes",
        "--fail-fast",
        "--skip-existing",
        "--update-records",
        "--dry-run",
        "--track-file-attrs",
        "--options-file",
    ):
        assert option in text


def test_locations_are_required(repo_root: Path) -> None:
    assert ingest(repo_root).code == 2


def test_bad_regular_expression(repo_root: Path, tmp_path: Path) -> None:
    outcome = ingest(repo_root, "--regex", "(", tmp_path)
    assert outcome.code == 2
    assert "'(' is not a regular expression" in outcome.output


def test_bad_transfer_mode(repo_root: Path, tmp_path: Path) -> None:
    assert ingest(repo_root, "--transfer", "beam", tmp_path).code == 2


def test_options_file(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 1)
    (tmp_path / "options.yaml").write_text("ingest-simulated:\n  output-run: from/file\n  transfer: symlink\n")
    assert ingest(repo_root, "-@", tmp_path / "options.yaml", tmp_path / "in").code == 0
    assert (repo_root / "from" / "file").is_dir()


@pytest.mark.slow
def test_whole_walk_in_processes(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 1)
    write_file(tmp_path / "in", 1).write_bytes(b"")
    done = run_butler("--progress", "ingest-simulated", repo_root, tmp_path / "in")
    assert done.returncode == 1
    assert "Ingesting files" in done.stdout
    assert "7 files found: 6 ingested, 0 already there, 0 skipped, 1 failed" in done.stdout
    assert "the file is empty" in done.stderr
    assert "Traceback" not in done.stderr


def test_first_signal_is_a_request_and_the_second_ends() -> None:
    code = """
import os, signal
from spherex.cli.script.ingest import _StopRequest
with _StopRequest() as stop:
    assert not stop()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop()
    print("first", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("second", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("first\n", -signal.SIGTERM)
