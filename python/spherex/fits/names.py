"""Names of the HDUs and cards of a product, each in this one place."""

from __future__ import annotations

__all__ = [
    "FLAGS",
    "IMAGE",
    "MASK",
    "PRIMARY",
    "PROVENANCE_PREFIX",
    "UNIT_CARD",
    "VARIANCE",
    "WCS_WAVE",
]

PRIMARY = "PRIMARY"
IMAGE = "IMAGE"
FLAGS = "FLAGS"
VARIANCE = "VARIANCE"
MASK = "MASK"
"""Boolean mask of a `~astropy.nddata.CCDData`, if somebody has set one."""

WCS_WAVE = "WCS-WAVE"
"""Table of wavelengths and bandwidths at some pixels."""

UNIT_CARD = "BUNIT"

PROVENANCE_PREFIX = "LSST BUTLER"
"""Begin of the HIERARCH cards that the Butler's provenance goes to, the same
as in lsst.images.
"""
