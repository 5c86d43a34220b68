"""What is looked for."""

from __future__ import annotations

__all__ = ["Criteria", "SearchError"]

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsst.daf.butler import Timespan

_WIDEST = 1.0
"""Largest radius (deg). Distances from a frame are told in its pixels, which farther
away cover less and less of the sky.
"""


class SearchError(Exception):
    """A search cannot be made. The message is one line for the user."""


@dataclasses.dataclass(frozen=True)
class Criteria:
    """Images that are looked for.

    Parameters
    ----------
    ra, dec
        Position, ICRS (deg); right ascension from -180 to 360.
    radius
        Radius of a circle round it that an image has to touch (deg); at 0 it
        has to contain the position.
    instrument
        Name of the instrument.
    dataset_type
        Name of the dataset type.
    collections
        Collections to search; of an image that several of them have, the
        first counts.
    detectors
        Numbers of the detectors wanted; all if there are none.
    surveys
        Names of the surveys wanted; all if there are none.
    timespan
        Time that exposures have to overlap; any if it is None.
    wavelengths
        Shortest and longest central wavelength at the position (um), or at
        the nearest pixel of a frame that only touches the circle; any if it
        is None.
    where
        Further condition in the query language of the Butler.

    Raises
    ------
    SearchError
        Raised if the position is none, the radius is negative or not small,
        or the wavelengths are no range.
    """

    ra: float
    dec: float
    radius: float = 0.0
    instrument: str = "SPHEREx"
    dataset_type: str = "level2"
    collections: tuple[str, ...] = ("SPHEREx/level2",)
    detectors: tuple[int, ...] = ()
    surveys: tuple[str, ...] = ()
    timespan: Timespan | None = None
    wavelengths: tuple[float, float] | None = None
    where: str = ""

    def __post_init__(self) -> None:
        if not -180.0 <= self.ra <= 360.0:
            raise SearchError(f"the right ascension is not between -180 and 360 degrees: {self.ra:g}.")
        if not -90.0 <= self.dec <= 90.0:
            raise SearchError(f"the declination is not between -90 and 90 degrees: {self.dec:g}.")
        if not 0.0 <= self.radius <= _WIDEST:
            raise SearchError(
                f"the radius is negative or above {_WIDEST:g} degree: {self.radius:g}. For wider circles use "
                'butler query-datasets REPO level2 --where "... OVERLAPS CIRCLE(ra, dec, radius)".'
            )
        if self.wavelengths is not None and not 0.0 < self.wavelengths[0] <= self.wavelengths[1]:
            raise SearchError(f"{self.wavelengths[0]:g} to {self.wavelengths[1]:g} um is no range of wavelengths.")
