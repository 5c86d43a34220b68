"""What the commands do."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click
from astropy.table import QTable
from astropy.time import Time
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset, Timespan
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d


class Summary(NamedTuple):
    """Numbers of plates and, after ``unchanged``, of scans."""

    inserted: int
    updated: int
    unchanged: int
    ingested: int
    kept: int


def register_plates(
    repo: str, plate_book: str, update: bool = False, scans: str | None = None, run: str = "scans"
) -> Summary:
    """Insert the dimension records of plates and ingest scans: all of them or, if one fails, none.

    Parameters
    ----------
    repo
        Path or URI of the repository.
    plate_book
        Table with the columns observatory, plate, emulsion, begin, end
        (ISO dates, UTC), ra, dec and radius (deg).
    update
        Correct the records of plates that differ from the table.
    scans
        Directory of the files to ingest, plate_NUMBER.fits; None for records
        only.
    run
        Run of the scans.

    Raises
    ------
    click.ClickException
        If a record differs from the table, unless ``update`` is set; or if
        the run has another scan of a plate.
    """
    table = QTable.read(plate_book, format="ascii.ecsv")
    records = [
        {
            "observatory": str(row["observatory"]),
            "id": int(row["plate"]),
            "emulsion": str(row["emulsion"]),
            "region": Circle(
                UnitVector3d(LonLat.fromDegrees(row["ra"].value, row["dec"].value)),
                Angle.fromDegrees(row["radius"].value),
            ),
            "timespan": Timespan(Time(row["begin"], scale="utc"), Time(row["end"], scale="utc")),
        }
        for row in table
    ]
    with Butler.from_config(repo, writeable=True) as butler:
        scan = DatasetType("scan", ("observatory", "plate"), "Scan", universe=butler.dimensions)
        if scans is not None:
            # Before the transaction, which registerDatasetType refuses: it may make a table.
            butler.registry.registerDatasetType(scan)
            butler.collections.register(run)
        files: list[FileDataset] = []
        kept = 0
        with butler.transaction():
            results = _insert_records(butler, records, update)
            if scans is not None:
                files, kept = _files_of(butler, scan, records, Path(scans), run)
                butler.ingest(*files, transfer="copy")
    # True for a new record, False for the same, the old values for one that was updated.
    inserted, unchanged = results.count(True), results.count(False)
    return Summary(inserted, len(results) - inserted - unchanged, unchanged, len(files), kept)


def _insert_records(butler: Butler, records: list[dict], update: bool) -> list[bool | dict]:
    registry = butler.registry
    # An observatory has a name only. For plates, insertDimensionData(skip_existing=True) would be faster than
    # syncDimensionData, but would keep a wrong position without a message.
    for name in {record["observatory"] for record in records}:
        registry.insertDimensionData("observatory", {"name": name}, skip_existing=True)
    results = []
    for record in records:
        try:
            results.append(registry.syncDimensionData("plate", record, update=update))
        except ConflictingDefinitionError as error:
            raise click.ClickException(
                f"plate {record['id']} of {record['observatory']} is registered with other values; "
                f"correct the table, or give --update. {error}"
            ) from error
    return results


def _files_of(
    butler: Butler, dataset_type: DatasetType, records: list[dict], folder: Path, run: str
) -> tuple[list[FileDataset], int]:
    """Return the files to ingest, and the number of those that are datasets of the run already."""
    # Relative paths would count from the repository.
    folder = folder.resolve()
    files = []
    kept = 0
    for record in records:
        path = folder / f"plate_{record['id']}.fits"
        if not path.exists():
            continue
        data_id = butler.registry.expandDataId(observatory=record["observatory"], plate=record["id"])
        stored = butler.find_dataset(dataset_type, data_id, collections=run)
        if stored is None:
            files.append(FileDataset(path, [DatasetRef(dataset_type, data_id, run)]))
        elif butler.getURI(stored).read() == path.read_bytes():
            kept += 1
        else:
            # A dataset never changes: others may have been made from it. `butler.ingest(skip_existing=True)`
            # would keep the old file without a message.
            raise click.ClickException(
                f"{path} differs from the scan of this plate in the run {run}; put the changed scans, and no others, "
                "into another directory, and ingest them with another --run."
            )
    return files, kept
