"""The commands that doc/commands.md and doc/history.md name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from lsst.ctrl.mpexec.cli.pipetask import cli as pipetask
from lsst.daf.butler import Butler
from lsst.daf.butler.cli.butler import cli as butler

from spherex.cli import commands

from .ingest_helpers import butler_command
from .test_readme import ROOT, blocks_of

PAGE = ROOT / "doc" / "commands.md"
HISTORY = ROOT / "doc" / "history.md"
OURS = {name.replace("_", "-") for name in commands.__all__}


def named(program: str) -> dict[str, bool]:
    """Return the subcommands of a program on the page, and whether each has the mark of ours."""
    found = re.findall(rf"`{program} ([a-z][\w-]*)[^`]*`( \*)?", PAGE.read_text())
    assert found
    return {name: bool(mark) for name, mark in found}


def test_the_page_names_each_of_our_commands() -> None:
    assert {name for name, ours in named("butler").items() if ours} == OURS


@pytest.mark.parametrize(("program", "group"), [("butler", butler), ("pipetask", pipetask)])
def test_commands_of_the_page_exist(program: str, group: click.MultiCommand) -> None:
    known = set(group.list_commands(click.Context(group)))
    assert set(named(program)) <= known


def test_help_of_butler_sets_our_commands_apart() -> None:
    assert set(re.findall(r"^  ([\w-]+) +SPHEREx: [a-z]", butler_command("--help").output, re.MULTILINE)) == OURS


def test_each_row_of_the_page_has_a_link() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if "`butler" in line and line.startswith("|")]
    assert len(rows) > len(OURS)
    assert [row for row in rows if not re.search(r"\]\(\w+\.md[^)]*\) \|$", row)] == []


def test_linked_pages_contain_the_commands() -> None:
    rows = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if re.match(r"\|.*\]\(", line)]
    checked = [
        (command, page)
        for row in rows
        for command in re.findall(r"`((?:butler|pipetask|bps) [a-z][\w-]*)", row[1])
        for page in re.findall(r"\]\((\w+\.md)", row[-1])
    ]
    assert len(checked) > len(rows) > len(OURS)
    text = {page: " ".join((PAGE.parent / page).read_text().split()) for _, page in checked}
    assert [(command, page) for command, page in checked if not re.search(rf"{command}\b", text[page])] == []


def test_what_became_of_flatten_chains(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo_root.rename(tmp_path / "DATA")
    monkeypatch.chdir(tmp_path)
    with Butler.from_config("DATA", writeable=True) as repo:
        repo.collections.register("rawexpr")
    assert butler_command("collection-chain", "DATA", "subtractr", "rawexpr").code == 0
    then, now = (shlex.split(block)[1:] for block in blocks_of(HISTORY, "sh flatten"))
    refused = butler_command(*then)
    assert refused.code == 2
    assert blocks_of(HISTORY, "text flatten")[0] in refused.output
    assert re.findall(r"^(\w+) +[A-Z]+ *$", butler_command(*now).output, re.MULTILINE) == ["rawexpr"]
