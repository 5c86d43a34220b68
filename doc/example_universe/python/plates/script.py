"""What the commands do."""

from __future__ import annotations

import click
from astropy.table import QTable
from astropy.time import Time
from lsst.daf.butler import Butler, Timespan
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d


def register_plates(repo: str, plate_book: str, update: bool = False) -> tuple[int, int, int]:
    """Insert the dimension records of plates: all of them or, if one fails, none.

    Parameters
    ----------
    repo
        Path or URI of the repository.
    plate_book
        Table with the columns observatory, plate, emulsion, begin, end
        (ISO dates, UTC), ra, dec and radius (deg).
    update
        Correct the records of plates that differ from the table.

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
    # syncDimensionData compares with the record that is there; insertDimensionData(skip_existing=True)
    # is faster, but would keep a wrong position without a message.
    with Butler.from_config(repo, writeable=True) as butler, butler.transaction():
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
    # True for a new record, False for the same, the old values for one that was updated.
    inserted, unchanged = results.count(True), results.count(False)
    return inserted, len(results) - inserted - unchanged, unchanged
