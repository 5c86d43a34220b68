"""Measurements to which the PSF does not fit."""

from __future__ import annotations

__all__ = ["WORST_FIT", "find_misfits"]

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astropy.table import QTable
    from numpy.typing import NDArray

WORST_FIT = 10.0
"""Greatest chi2 of a fit, in units of what is usual for the target (spectrophotometry.md, C8)."""

_ENOUGH = 5
"""Measurements of a detector that tell what is usual there."""


def find_misfits(spectrum: QTable, worst_fit: float = WORST_FIT) -> NDArray[np.bool_]:
    """Return which measurements of one target have a far worse fit than the others.

    A particle that hits the detector beside the source is one. Errors of the
    PSF grow with the flux, so that chi2 is compared with the median of the
    same detector; nothing is concluded from the flux itself.

    Parameters
    ----------
    spectrum
        Measurements without masked values, with the columns of `gather_spectrum`.
    worst_fit
        Greatest chi2 per degree of freedom, in units of the median, or of 1
        if that is less: below it, noise alone makes the difference.
    """
    chi2, dof = np.asarray(spectrum["chi2"], float), np.asarray(spectrum["dof"], float)
    is_known = np.isfinite(chi2) & (dof > 0) & (np.asarray(spectrum["reason"]) == "")
    reduced = np.full(len(chi2), np.nan)
    reduced[is_known] = chi2[is_known] / dof[is_known]
    detectors = np.asarray(spectrum["detector"])
    usual = np.full(len(chi2), np.nanmedian(reduced) if is_known.any() else np.nan)
    for detector in np.unique(detectors):
        here = is_known & (detectors == detector)
        if here.sum() >= _ENOUGH:
            usual[detectors == detector] = np.median(reduced[here])
    return reduced > worst_fit * np.maximum(usual, 1.0)
