"""Parts of the engine for further kinds of files: given ids, work in the transaction, derived datasets."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, DatasetRef

from spherex.errors import DescriptionError
from spherex.ingest import (
    RAW_REGEX,
    DatasetKey,
    DerivedDataset,
    FileDescription,
    FileKey,
    FileStructure,
    IngestOptions,
    IngestReport,
    SimulatedTranslator,
    engine,
)

from .ingest_helpers import datasets, write_file, write_files

ID = uuid.UUID("019b2942-2772-73f3-a517-2abe19e0ecb4")


class IdTranslator(SimulatedTranslator):
    """Gives the first file a dataset id that was made elsewhere."""

    def describe(self, key: FileKey, structure: FileStructure) -> FileDescription:
        description = super().describe(key, structure)
        if key.group == 0 and key.member == 1:
            description = dataclasses.replace(description, dataset=dataclasses.replace(description.dataset, id=ID))
        return description


def run(repo: Path, source: Path, translator: SimulatedTranslator | None = None, **choices: object) -> IngestReport:
    translator = translator or SimulatedTranslator("rawexp", "rawexpr")
    with Butler.from_config(str(repo), writeable=True) as butler:
        translator.instrument().register(butler.registry)
        options = IngestOptions(**choices)  # type: ignore[arg-type]
        return engine.ingest(butler, translator, [str(source)], re.compile(RAW_REGEX), options)


def test_known_dataset_id(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 1, [1, 2])
    for _ in range(2):
        assert run(repo_root, tmp_path / "in", IdTranslator("rawexp", "rawexpr")).is_success
    with Butler.from_config(str(repo_root)) as butler:
        ref = butler.get_dataset(ID)
        assert ref is not None
        assert ref.dataId["detector"] == 1
        assert butler.get(ref).shape == (16, 16)
        assert len(butler.query_datasets("rawexp", collections="rawexpr")) == 2


Finish = Callable[[Sequence[DatasetRef], Sequence[DatasetRef], bool], list[str]]


class FinishingTranslator(SimulatedTranslator):
    """Does something with the datasets of each transaction."""

    def __init__(self, finish: Finish) -> None:
        super().__init__("rawexp", "rawexpr")
        self._finish = finish

    def finish_batch(
        self, butler: Butler, new: Sequence[DatasetRef], existing: Sequence[DatasetRef], dry_run: bool
    ) -> list[str]:
        return self._finish(new, existing, dry_run)


def test_finish_is_part_of_the_transaction(repo_root: Path, tmp_path: Path) -> None:
    paths = write_files(tmp_path / "in", 2, [1, 2])
    seen: list[list[int]] = []

    def finish(new: Sequence[DatasetRef], existing: Sequence[DatasetRef], dry_run: bool) -> list[str]:
        assert not dry_run
        refs = [*new, *existing]
        seen.append([int(ref.dataId["exposure"]) for ref in refs])
        if len(seen) == 1:
            raise ValueError("not this one")
        return [f"{len(new)} certified, {len(existing)} looked at"]

    report = run(repo_root, tmp_path / "in", FinishingTranslator(finish), batch_size=2)
    assert report.is_success
    assert report.notes == ["2 certified, 0 looked at"] * 2
    assert report.summary_lines()[-2:] == report.notes
    assert seen[0] == [0, 0], "what fails is tried once more, each exposure on its own"
    assert report.ingested == len(paths)
    again = run(repo_root, tmp_path / "in", FinishingTranslator(finish))
    assert again.notes == ["0 certified, 4 looked at"]


def test_finish_that_fails_undoes_the_batch(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")

    def finish(new: Sequence[DatasetRef], existing: Sequence[DatasetRef], dry_run: bool) -> list[str]:
        raise ValueError("never")

    report = run(repo_root, tmp_path / "in", FinishingTranslator(finish))
    assert "never; nothing of it was ingested" in report.failures[0][1]
    assert datasets(repo_root) == {}


def test_finish_of_a_dry_run(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    dry_runs: list[bool] = []

    def finish(new: Sequence[DatasetRef], existing: Sequence[DatasetRef], dry_run: bool) -> list[str]:
        dry_runs.append(dry_run)
        return [f"{len(new)} {'would be ' if dry_run else ''}certified"]

    report = run(repo_root, tmp_path / "in", FinishingTranslator(finish), dry_run=True)
    assert report.is_success
    assert report.notes == ["1 would be certified"]
    assert run(repo_root, tmp_path / "in", FinishingTranslator(finish)).notes == ["1 certified"]
    assert dry_runs == [True, False]


class DerivingTranslator(SimulatedTranslator):
    """Offers the size of each file, as a dataset of its exposure."""

    loads: list[str]

    def describe(self, key: FileKey, structure: FileStructure) -> FileDescription:
        description = super().describe(key, structure)
        kind = dataclasses.replace(
            description.dataset.kind,
            name="size",
            dimensions=("instrument", "exposure"),
            storage_class="StructuredDataDict",
            formatter=None,
        )

        def load() -> dict[str, int | None] | None:
            self.loads.append(structure.uri)
            if key.member == 1:
                return None
            if key.member == 2:
                raise DescriptionError("too damaged to be measured")
            return {"size": structure.size}

        derived = DerivedDataset(DatasetKey(kind, "rawexpr", description.dataset.values[:2]), load)
        return dataclasses.replace(description, derived=derived)


def test_derived_dataset_is_made_from_the_first_file_that_serves(repo_root: Path, tmp_path: Path) -> None:
    paths = write_files(tmp_path / "in", 1)
    translator = DerivingTranslator("rawexp", "rawexpr")
    translator.loads = []
    report = run(repo_root, tmp_path / "in", translator)
    assert translator.loads == [str(path) for path in paths[:3]]
    assert report.failures == [(str(paths[1]), "too damaged to be measured")]
    assert (report.ingested, report.derived) == (5, {"size": 1})
    with Butler.from_config(str(repo_root)) as butler:
        (ref,) = butler.query_datasets("size", collections="rawexpr")
        assert butler.get(ref) == {"size": paths[2].stat().st_size}


@pytest.mark.parametrize("times", [1, 2])
def test_derived_dataset_that_is_there_is_not_read_again(repo_root: Path, tmp_path: Path, times: int) -> None:
    write_files(tmp_path / "in", 1, [3, 4])
    translator = DerivingTranslator("rawexp", "rawexpr")
    translator.loads = []
    for _ in range(times):
        run(repo_root, tmp_path / "in", translator)
    assert len(translator.loads) == 1
