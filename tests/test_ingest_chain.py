from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, CollectionType

from spherex.errors import IngestError
from spherex.ingest.registrar import link_run


def age_of(name: str) -> int | None:
    return int(name[1:]) if name.startswith("r") else None


def link(butler: Butler, run: str) -> None:
    link_run(butler, "chain", run, age_of)


@pytest.fixture
def writer(repo_root: Path) -> Iterator[Butler]:
    """Return a Butler with runs r1 to r4, and two of the user."""
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        for name in ("r1", "r2", "r3", "r4", "best", "mine"):
            butler.collections.register(name)
        yield butler


def children(butler: Butler) -> list[str]:
    return list(butler.collections.get_info("chain").children)


@pytest.mark.parametrize("order", list(itertools.permutations(["r1", "r2", "r3", "r4"]))[::3])
def test_newest_is_first_in_every_order(writer: Butler, order: list[str]) -> None:
    for run in order:
        link(writer, run)
    assert children(writer) == ["r4", "r3", "r2", "r1"]


@pytest.mark.parametrize(
    ("before", "run", "after"),
    [
        (["best", "mine"], "r2", ["best", "mine", "r2"]),
        (["best", "r3", "mine"], "r2", ["best", "r3", "r2", "mine"]),
        (["best", "r1", "mine"], "r2", ["best", "r2", "r1", "mine"]),
        (["r3", "mine", "r1"], "r2", ["r3", "mine", "r2", "r1"]),
        (["r3", "mine", "r1"], "r4", ["r4", "r3", "mine", "r1"]),
        (["r1", "r3"], "r1", ["r1", "r3"]),
        (["r1", "r3"], "r2", ["r2", "r1", "r3"]),
    ],
)
def test_children_of_the_user_stay(writer: Butler, before: list[str], run: str, after: list[str]) -> None:
    writer.collections.register("chain", CollectionType.CHAINED)
    writer.collections.redefine_chain("chain", before)
    link(writer, run)
    assert children(writer) == after


def test_another_process_at_the_same_time(repo_root: Path, writer: Butler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the chain and its change, somebody adds a newer run."""
    link(writer, "r1")
    prepend = type(writer.collections).prepend_chain
    calls = []

    def prepend_late(self: object, parent: str, names: list[str]) -> None:
        if not calls:
            calls.append(names)
            with Butler.from_config(str(repo_root), writeable=True) as other:
                prepend(other.collections, "chain", ["r4"])
        prepend(self, parent, names)

    monkeypatch.setattr(type(writer.collections), "prepend_chain", prepend_late)
    link(writer, "r3")
    assert children(writer) == ["r4", "r3", "r1"]


def test_run_that_lost_its_place_is_linked_again(writer: Butler) -> None:
    """As after a process that died between the two steps."""
    link(writer, "r3")
    link(writer, "r1")
    assert children(writer) == ["r3", "r1"]
    link(writer, "r2")
    assert children(writer) == ["r3", "r2", "r1"]


def test_chain_that_others_change_all_the_time(
    repo_root: Path, writer: Butler, monkeypatch: pytest.MonkeyPatch
) -> None:
    link(writer, "r1")
    prepend = type(writer.collections).prepend_chain

    def prepend_early(self: object, parent: str, names: list[str]) -> None:
        prepend(self, parent, names)
        with Butler.from_config(str(repo_root), writeable=True) as other:
            prepend(other.collections, "chain", ["r1"])

    monkeypatch.setattr(type(writer.collections), "prepend_chain", prepend_early)
    with pytest.raises(IngestError, match="'chain' is being changed by other processes: run the command again"):
        link(writer, "r3")
