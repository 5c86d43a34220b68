"""What the commands do."""

from __future__ import annotations

from pathlib import Path

import click
from astropy.table import QTable
from astropy.time import Time
from lsst.daf.butler import Butler, DatasetIdGenEnum, DatasetRef, DatasetType, FileDataset, Timespan
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d


def register_plates(repo: str, plate_book: str, update: bool = False, scans: str | None = None) -> tuple[int, int, int]:
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

    Returns
    -------
    inserted, updated, unchanged : `int`
        Number of plates.

    Raises
    ------
    click.ClickException
        If a record differs from the table, unless ``update`` is set.
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
            butler.collections.register("scans")
        with butler.transaction():
            results = _insert_records(butler, records, update)
            if scans is not None:
                butler.ingest(*_files_of(butler, scan, records, Path(scans)), transfer="copy", skip_existing=True)
    # True for a new record, False for the same, the old values for one that was updated.
    inserted, unchanged = results.count(True), results.count(False)
    return inserted, len(results) - inserted - unchanged, unchanged


def _insert_records(butler: Butler, records: list[dict], update: bool) -> list[bool | dict]:
    # syncDimensionData compares with the record that is there; insertDimensionData(skip_existing=True)
    # is faster, but would keep a wrong position without a message.
    registry = butler.registry
    for name in {record["observatory"] for record in records}:
        registry.syncDimensionData("observatory", {"name": name})
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


def _files_of(butler: Butler, dataset_type: DatasetType, records: list[dict], folder: Path) -> list[FileDataset]:
    # Relative paths would count from the repository.
    folder = folder.resolve()
    files = []
    for record in records:
        path = folder / f"plate_{record['id']}.fits"
        if path.exists():
            data_id = butler.registry.expandDataId(observatory=record["observatory"], plate=record["id"])
            # The same id for the same scan, so that it can be skipped.
            mode = DatasetIdGenEnum.DATAID_TYPE_RUN
            files.append(FileDataset(path, [DatasetRef(dataset_type, data_id, "scans", id_generation_mode=mode)]))
    return files
