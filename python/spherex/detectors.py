"""Detectors, dataset types and collections of the mission: one source for each."""

from __future__ import annotations

__all__ = [
    "CATALOG_TYPE",
    "DETECTORS",
    "DICHROIC_PAIRS",
    "DetectorDescription",
    "FRAME_SIDE",
    "WAVELENGTH_TYPE",
    "catalog_collection",
]

import dataclasses


@dataclasses.dataclass(frozen=True)
class DetectorDescription:
    """What is constant about one detector and its linear variable filter.

    Parameters
    ----------
    id
        Detector number, 1 to 6.
    lmin
        Shortest design wavelength of the filter, um.
    lmax
        Longest design wavelength of the filter, um.
    r
        Resolving power, wavelength over bandwidth.
    desc
        Which of the two focal planes it belongs to.
    """

    id: int
    lmin: float
    lmax: float
    r: float
    desc: str


DETECTORS = (
    DetectorDescription(1, 0.75, 1.09, 39.0, "SWIR"),
    DetectorDescription(2, 1.10, 1.62, 41.0, "SWIR"),
    DetectorDescription(3, 1.63, 2.41, 41.0, "SWIR"),
    DetectorDescription(4, 2.42, 3.82, 35.0, "MWIR"),
    DetectorDescription(5, 3.83, 4.41, 112.0, "MWIR"),
    DetectorDescription(6, 4.42, 5.00, 128.0, "MWIR"),
)
"""Design wavelengths and resolving powers as published in the SPHEREx archive
documentation (Caltech-IPAC/spherex-archive-documentation, data products).
"""

DICHROIC_PAIRS = ((1, 4), (2, 5), (3, 6))
"""Detectors that see the same sky through the dichroic (same source)."""

FRAME_SIDE = 2040
"""Rows and columns of pixels that see light (same source)."""


WAVELENGTH_TYPE = "level2_wavelength"
"""Dataset type of the wavelength tables, one for each run and detector."""


CATALOG_TYPE = "target_catalog"
"""Dataset type of catalogues, dimension catalog."""


def catalog_collection(name: str) -> str:
    """Return the CHAINED collection of a catalogue, its newest version first."""
    return f"catalogs/{name}"
