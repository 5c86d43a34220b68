"""One ingest in a process of its own: ours, or the least that can be done.

It prints the cost of the work alone, without the start of the process, as JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from lsst.daf.butler import (
    Butler,
    DataCoordinate,
    DatasetIdGenEnum,
    DatasetRef,
    DatasetType,
    DimensionRecord,
    FileDataset,
)
from lsst.resources import ResourcePath

import spherex.formatters  # noqa: F401
from spherex.cli.script.ingest import ingest_level2, ingest_simulated
from spherex.ingest import FileTranslator, Level2Translator, SimulatedTranslator, read_structure

from .measure import cost_of

_HEADERS = 2**15


def paths_of(folders: list[str]) -> list[str]:
    """Return all files of some folders."""
    return sorted(entry.path for folder in folders for entry in os.scandir(folder))


def warm(path: str) -> None:
    """Get the headers of a file into the page cache, and little else."""
    with open(path, "rb", buffering=0) as stream:
        file = stream.fileno()
        # Reading ahead in holes would fill the cache with nothing.
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        end = 0
        # Behind the last data there is nothing to seek.
        with contextlib.suppress(OSError):
            while True:
                begin = os.lseek(file, end, os.SEEK_DATA)
                end = os.lseek(file, begin, os.SEEK_HOLE)
                os.pread(file, _HEADERS, begin)


CHOICES: dict[str, Any] = {
    "regex": None,
    "transfer": "direct",
    "fail_fast": False,
    "skip_existing": False,
    "update_records": False,
    "dry_run": False,
}
"""Options that the commands share."""

COMMANDS: dict[str, Callable[..., bool]] = {
    "simulated": functools.partial(
        ingest_simulated, ingest_type="rawexp", output_run=None, group=None, track_file_attrs=True, **CHOICES
    ),
    "level2": functools.partial(
        ingest_level2,
        dataset_type="level2",
        label=None,
        processing_run=None,
        track_file_attrs=False,
        **CHOICES,
    ),
}

TRANSLATORS: dict[str, Callable[[], FileTranslator]] = {
    "simulated": lambda: SimulatedTranslator("rawexp", "rawexpr"),
    "level2": lambda: Level2Translator("level2"),
}


def prepare_ours(kind: str, repo: str, folders: list[str]) -> Callable[[], Any]:
    """Return what a command does once its options are parsed."""
    # The floor does not read files: the cost of a cold disk is left out here.
    for path in paths_of(folders):
        warm(path)
    return prepare_command(kind, repo, folders)


def prepare_command(kind: str, repo: str, locations: list[str], threads: int = 1) -> Callable[[], Any]:
    """Return a command."""

    def work() -> None:
        if not COMMANDS[kind](repo=repo, locations=locations, processes=threads):
            raise RuntimeError("the ingest failed")

    return work


@dataclasses.dataclass
class Prepared:
    """Records and files that lie ready for a repository."""

    butler: Butler
    records: dict[str, list[DimensionRecord]]
    datasets: list[FileDataset]
    track_file_attrs: bool

    def insert_records(self) -> None:
        """Insert the dimension records."""
        for element, records in self.records.items():
            self.butler.registry.insertDimensionData(element, *records)

    def insert_all(self) -> None:
        """Insert the records and ingest the files, in one transaction."""
        with self.butler.transaction():
            self.insert_records()
            self.butler.ingest(*self.datasets, transfer="direct", record_validation_info=self.track_file_attrs)


def prepare(kind: str, repo: str, folders: list[str]) -> Prepared:
    """Read all that has to be known of the files, and register what they belong to."""
    butler = Butler.from_config(repo, writeable=True)
    translator = TRANSLATORS[kind]()
    translator.instrument().register(butler.registry)
    name = "rawexp" if kind == "simulated" else "level2"
    dataset_type = DatasetType(name, ("instrument", "exposure", "detector"), "SPHERExImage", universe=butler.dimensions)
    butler.registry.registerDatasetType(dataset_type)
    records: dict[str, dict[tuple[Any, ...], Any]] = {"exposure": {}, "exposure_detector_region": {}}
    datasets = []
    for path in paths_of(folders):
        structure = read_structure(path)
        key = translator.identify(path)
        assert key is not None
        description = translator.describe(key, structure)
        butler.collections.register(description.dataset.run)
        for record in description.records:
            element = butler.dimensions[record.element]
            complete = element.RecordClass(**{**record.defaults, **record.values})
            records[record.element].setdefault(complete.dataId.required_values, complete)
        values = dict(zip(description.dataset.kind.dimensions, description.dataset.values, strict=True))
        data_id = DataCoordinate.standardize(values, dimensions=dataset_type.dimensions)
        ref = DatasetRef(
            dataset_type,
            data_id,
            description.dataset.run,
            id_generation_mode=DatasetIdGenEnum.DATAID_TYPE_RUN,
        )
        datasets.append(FileDataset(ResourcePath(path, forceDirectory=False), [ref]))

    return Prepared(
        butler,
        {element: list(found.values()) for element, found in records.items()},
        datasets,
        kind == "simulated",
    )


def main() -> None:
    kind, who, repo, *folders = sys.argv[1:]
    work: Callable[[], Any]
    if who == "ours":
        work = prepare_ours(kind, repo, folders)
    elif who == "floor":
        work = prepare(kind, repo, folders).insert_all
    else:
        work = prepare_command(kind, repo, folders, int(who.removeprefix("threads=")))
    # What is imported on first use, and what was prepared, is not to count.
    with Butler.from_config(repo, writeable=True):
        pass
    gc.collect()
    gc.freeze()
    cost = cost_of(work)
    print(json.dumps({"cpu": cost.cpu, "wall": cost.wall}))


if __name__ == "__main__":
    main()
