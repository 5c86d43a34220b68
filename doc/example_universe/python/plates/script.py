"""What the commands do."""

from __future__ import annotations

from astropy.table import QTable
from astropy.time import Time
from lsst.daf.butler import Butler, Timespan
from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d


def register_plates(repo: str, plate_book: str) -> int:
    """Insert the dimension records of plates.

    Parameters
    ----------
    repo
        Path or URI of the repository.
    plate_book
        Table with the columns observatory, plate, emulsion, begin, end
        (ISO dates, UTC), ra, dec and radius (deg).

    Returns
    -------
    count : `int`
        Number of plates.
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
    with Butler.from_config(repo, writeable=True) as butler, butler.transaction():
        for name in {record["observatory"] for record in records}:
            butler.registry.insertDimensionData("observatory", {"name": name}, skip_existing=True)
        butler.registry.insertDimensionData("plate", *records, skip_existing=True)
    return len(records)
