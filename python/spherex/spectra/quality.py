"""Quality of a measurement: what may be wrong with it, as bits, and whether to use it.

doc/quality.md has the figures on which the limits are based.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from spherex.image import ARTEFACT_FLAGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from spherex.image import FlagTable
    from spherex.photometry import Fluxes


@dataclasses.dataclass(frozen=True)
class QualityBit:
    """One thing that may be wrong with a measurement.

    Parameters
    ----------
    bit
        Number of the bit.
    name
        Name in ``quality_names``.
    is_bad
        Whether the measurement must not be used.
    description
        What is wrong.
    source
        Publication or measurement that the rule is from.
    """

    bit: int
    name: str
    is_bad: bool
    description: str
    source: str


_FRAMES = "simulated frames (doc/quality.md)"

QUALITY_BITS = (
    QualityBit(0, "NO_FLUX", True, "There is no flux; the column reason says why.", "definition"),
    QualityBit(
        1,
        "HIT",
        False,
        "A pixel that is flagged as hit by a particle (TRANSIENT, SUR_ERROR, PHANTOM, REFERENCE or PHANMISS) was used, "
        "because the core has the shape of the PSF with it.",
        _FRAMES,
    ),
    QualityBit(
        2,
        "SATURATED",
        False,
        "A pixel of the core is flagged OVERFLOW or NONLINEAR. The flux is good if the core has the shape of the PSF.",
        "flags of the archive (SPHEREx Explanatory Supplement)",
    ),
    QualityBit(
        3,
        "PLATEAU",
        True,
        "Pixels of the core are as bright as its middle, though the PSF is fainter there: the star is saturated.",
        _FRAMES,
    ),
    QualityBit(
        4,
        "ARTEFACT",
        False,
        "A pixel with an artefact (such as SNOWBALL, GHOST, HALO, BLOOM, STREAK, CROSSTALK, DICHROIC or PERSIST) was "
        "used.",
        "flags of the archive (SPHEREx Explanatory Supplement)",
    ),
    QualityBit(
        5,
        "MISFIT",
        True,
        "The pixels differ from the model: chi2 / dof above 1.7 + (0.02 S)^2, or in the core above 2 + (0.055 S)^2, "
        "with the signal to noise S. Or they have no noise, as where data are lost: chi2 / dof below 0.05 with dof of "
        "at least 20.",
        _FRAMES,
    ),
    QualityBit(
        6,
        "REJECTED_CORE",
        True,
        "Two pixels of the core contradict the others and were left out, or one where more than 20 % of the PSF is "
        "missing; not where suspect pixels were used. Often a neighbour that is not in the catalogue.",
        _FRAMES,
    ),
    QualityBit(
        7,
        "PSF_APERTURE",
        False,
        "The fluxes by PSF and in the aperture differ by more than 5 standard deviations and 10 %.",
        _FRAMES,
    ),
    QualityBit(
        8,
        "BLENDED",
        False,
        "The correlation of the flux with that of another target is above 0.1; the error contains it.",
        "covariance of the fit",
    ),
    QualityBit(9, "EDGE", False, "The square of pixels around the target extends beyond the image.", "definition"),
    QualityBit(
        10,
        "CLIPPED_BACKGROUND",
        False,
        "The background is that of pixels with sources, after clipping, because there are too few others.",
        "cutoutdb (flag BACKGROUND_IMAGE_CLIPPED_FALLBACK)",
    ),
    QualityBit(11, "MASKED", False, "More than 20 % of the PSF is on pixels that were not used.", _FRAMES),
    QualityBit(
        12,
        "UNCORRECTED_GAIN",
        False,
        "The image is from a pipeline before version 7, and its gains were not corrected.",
        "hbahk/spherex-retrieval: corrections of 0.87 to 1.03",
    ),
    QualityBit(
        13, "NO_PSF", True, "There is no PSF: the flux in the aperture lacks the light outside of it.", "definition"
    ),
    QualityBit(
        14,
        "UNKNOWN",
        True,
        "The measurement is from a version of this package that did not judge it: measure again.",
        "definition",
    ),
    QualityBit(
        24,
        "SCATTER",
        False,
        "Of a channel: its measurements differ more than 95 % of all whose errors are right. The error contains the "
        "difference.",
        "definition",
    ),
    QualityBit(
        25,
        "VISITS_DISAGREE",
        True,
        "Of a channel: its measurements contradict each other (probability of chi2 below 0.0001), and their standard "
        "deviation is above 10 % of the mean.",
        "definition",
    ),
)
"""All bits of the column ``quality``; those from 24 are of channels alone."""

_BITS: Mapping[str, int] = {item.name: 1 << item.bit for item in QUALITY_BITS}
UNKNOWN_QUALITY = _BITS["UNKNOWN"]
"""Quality of measurements without the column."""

_BAD = sum(_BITS[item.name] for item in QUALITY_BITS if item.is_bad)

_HIT_FLAGS = frozenset({"TRANSIENT", "SUR_ERROR", "PHANTOM", "REFERENCE", "PHANMISS"})
_SATURATION_FLAGS = frozenset({"OVERFLOW", "NONLINEAR"})

_CHI2, _CHI2_SLOPE = 1.7, 0.02
_CORE_CHI2, _CORE_CHI2_SLOPE = 2.0, 0.055
# The probability of chi2 / dof below 0.05 is 2e-10 with 20 degrees of freedom.
_LEAST_CHI2, _LEAST_DOF = 0.05, 20
_MUCH_MASKED = 0.2
_DIFFERENT, _DIFFERENT_SHARE = 5.0, 0.1
_CORRELATED = 0.1


def quality_of(fluxes: Fluxes, flag_table: FlagTable) -> NDArray[np.int32]:
    """Return the bits that follow from the pixels, shape (n,).

    Parameters
    ----------
    fluxes
        Measurements.
    flag_table
        Names of the flags.
    """

    def has(flags: NDArray[np.int64], names: frozenset[str]) -> NDArray[np.bool_]:
        mask = sum(1 << flag_table[name] for name in names.intersection(flag_table))
        return (flags & mask) != 0

    # Comparisons with NaN are false: without a flux, NO_FLUX says what is wrong.
    with np.errstate(invalid="ignore"):
        # The error of the flux contains the misfit: with it, a worse fit would have a lower limit.
        signal = fluxes.signal_to_noise**2
        is_misfit = fluxes.chi2 > fluxes.dof * (_CHI2 + _CHI2_SLOPE**2 * signal)
        core_limit = fluxes.core_dof * (_CORE_CHI2 + _CORE_CHI2_SLOPE**2 * signal)
        is_misfit |= (fluxes.core_dof > 0) & (fluxes.core_chi2 > core_limit)
        is_misfit |= (fluxes.dof >= _LEAST_DOF) & (fluxes.chi2 < _LEAST_CHI2 * fluxes.dof)
        difference = np.abs(fluxes.aperture_flux - fluxes.flux)
        is_different = difference > _DIFFERENT * np.hypot(fluxes.aperture_flux_error, fluxes.flux_error)
        is_different &= difference > _DIFFERENT_SHARE * np.abs(fluxes.flux)
    is_masked = fluxes.masked_fraction > _MUCH_MASKED
    is_rejected = (fluxes.rejected >= 2) | (fluxes.rejected == 1) & is_masked
    rules = {
        "HIT": has(fluxes.flags, _HIT_FLAGS),
        "SATURATED": has(fluxes.core_flags, _SATURATION_FLAGS),
        "PLATEAU": fluxes.has_plateau,
        "ARTEFACT": has(fluxes.flags, ARTEFACT_FLAGS),
        "MISFIT": is_misfit,
        "REJECTED_CORE": is_rejected & ~fluxes.is_rescued,
        "PSF_APERTURE": is_different,
        "BLENDED": fluxes.blending > _CORRELATED,
        "EDGE": fluxes.is_cut,
        "CLIPPED_BACKGROUND": fluxes.is_clipped,
        "MASKED": is_masked,
    }
    return quality_bits(rules, len(fluxes.flux))


def quality_bits(rules: Mapping[str, ArrayLike], length: int) -> NDArray[np.int32]:
    """Return the bits of measurements, shape (n,).

    Parameters
    ----------
    rules
        Which measurements have a bit, by its name.
    length
        Number of measurements.
    """
    quality = np.zeros(length, np.int32)
    for name, is_so in rules.items():
        quality[np.broadcast_to(is_so, (length,))] |= _BITS[name]
    return quality


def is_good(quality: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return whether measurements are to be used: those without any of the bad bits."""
    good: NDArray[np.bool_] = (quality & _BAD) == 0
    return good


def count_bad(quality: NDArray[np.int32]) -> Counter[str]:
    """Count the bits that make measurements not good, by their names.

    Parameters
    ----------
    quality
        Values of the column ``quality``. A measurement may have several bits.
    """
    counts = {item.name: int(np.count_nonzero(quality & _BITS[item.name])) for item in QUALITY_BITS if item.is_bad}
    return Counter({name: number for name, number in counts.items() if number})


def quality_names(quality: NDArray[np.int32]) -> list[str]:
    """Return the names of the bits of each measurement, separated by blanks."""
    # Many measurements have the same bits.
    names = {
        bits: " ".join(name for name, bit in _BITS.items() if bits & bit) for bits in set(np.asarray(quality).tolist())
    }
    return [names[bits] for bits in np.asarray(quality).tolist()]
