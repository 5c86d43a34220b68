"""Offset of the bright sources of an image from their catalogue positions."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .fit import fit_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .fit import StampFits
    from .profiles import Profiles
    from .stamps import Stamps


_MOST_SOURCES = 20
"""Brightest sources that are used: with a signal to noise of 100 each, the error of their mean is 0.0015 pixels."""

_FEWEST_SOURCES = 5
"""Sources, below which one wrong position among them cannot be told from the others."""

_BRIGHT = 100.0
"""Least signal to noise."""

_MOST_MASKED = 0.1
_MOST_BLENDED = 0.1
"""Largest masked fraction of the profile, and correlation of the flux with that of a neighbour."""

_STEP = 0.01
"""Difference of positions for the derivative of a profile (pixels)."""

_LINEAR, _MOST_STEPS = 0.05, 4
"""Largest last step (pixels), and most steps: a first step of 0.1 pixels is wrong by 0.0002, one of 0.2 by 0.015."""

_CLIPPING = 4.0
"""Standard deviations from the median, beyond which a source is left out."""


@dataclasses.dataclass(frozen=True)
class CentroidOffset:
    """Measured minus catalogue positions of the bright sources of an image (pixels); NaN if they are too few.

    Parameters
    ----------
    x, x_error, y, y_error
        Mean along x and y, and its standard deviation.
    number
        Number of sources in the mean; 0 if there is none.
    """

    x: float = np.nan
    x_error: float = np.nan
    y: float = np.nan
    y_error: float = np.nan
    number: int = 0


class BrightSources:
    """Fits of the bright, isolated sources of an image, and their offset from the catalogue.

    The fits are those of the fluxes, whose pixels and profiles are used again.
    """

    def __init__(self) -> None:
        self._parts: list[dict[str, NDArray[Any]]] = []

    def add(
        self,
        fits: StampFits,
        stamps: Stamps,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        is_excluded: NDArray[np.bool_],
        masked: NDArray[np.float64],
        blending: NDArray[np.float64],
    ) -> None:
        """Keep the fits of the brightest sources.

        Parameters
        ----------
        fits, stamps
            Fits and the stamps that they were made of.
        x, y
            Catalogue positions in pixels of the whole frame, from 0, shape (n,).
        is_excluded
            Whether a source has no position, such as a saturated one, shape (n,).
        masked, blending
            Fraction of the profile on unused pixels, and largest correlation
            with the flux of a neighbour, shape (n,).
        """
        flux, error = fits.fit.values[:, 0], fits.fit.errors[:, 0]
        # With NaN, all comparisons are false.
        is_bright = (flux > _BRIGHT * error) & (masked < _MOST_MASKED) & (blending < _MOST_BLENDED) & ~is_excluded
        rows = np.flatnonzero(is_bright & fits.fit.is_known[:, 0])
        if not len(rows):
            return
        signal = flux[rows] / error[rows]
        brightest = np.argsort(-signal, kind="stable")[:_MOST_SOURCES]
        rows, signal = rows[brightest], signal[brightest]
        self._parts.append(
            {
                "design": fits.design[rows],
                "data": fits.data[rows],
                "weights": fits.used[rows] / fits.variance[rows],
                "flux": flux[rows],
                "signal": signal,
                "x": x[rows],
                "y": y[rows],
                "left": stamps.left[rows],
                "bottom": stamps.bottom[rows],
            }
        )

    def offset(self, profiles: Profiles) -> CentroidOffset:
        """Return the offset that the brightest sources have in common.

        A source with the flux F at (x + dx, y + dy) has, to first order, the light
        ``F P(x, y) + dx F dP/dx + dy F dP/dy`` in its pixels. The two derivatives
        are further terms of the linear fit of flux, background and neighbours,
        with the same weights. Their factors are the offset, with errors from
        the variance of the pixels (King 1983, PASP 95, 163). The step is repeated
        from the offset position until it is below 0.05 pixels. Offsets of more
        than about half a pixel lose too much light for a flux, and are not found.

        The mean has the weights ``1 / (e^2 + t^2)``. The variance t^2 between
        sources, such as errors of the catalogue, is that of DerSimonian and
        Laird (1986, Controlled Clinical Trials 7, 177); it is 0 where the
        errors e explain the differences.

        Parameters
        ----------
        profiles
            PSF.
        """
        if sum(len(part["signal"]) for part in self._parts) < _FEWEST_SOURCES:
            return CentroidOffset()
        sources = self._brightest()
        moved = np.zeros(2)
        for _ in range(_MOST_STEPS):
            values, errors = _steps(sources, profiles, moved)
            is_used = np.isfinite(values).all(axis=1) & (errors > 0).all(axis=1)
            if np.count_nonzero(is_used) < _FEWEST_SOURCES:
                return CentroidOffset()
            apart = np.abs(values - np.median(values[is_used], axis=0))
            spread = 1.4826 * np.median(apart[is_used], axis=0)
            is_used &= (apart < _CLIPPING * np.hypot(errors, spread)).all(axis=1)
            if np.count_nonzero(is_used) < _FEWEST_SOURCES:
                return CentroidOffset()
            means = [mean_with_scatter(values[is_used, axis], errors[is_used, axis]) for axis in (0, 1)]
            step = np.array([mean for mean, _ in means])
            moved += step
            if np.abs(step).max() < _LINEAR:
                (_, x_error), (_, y_error) = means
                return CentroidOffset(moved[0], x_error, moved[1], y_error, int(np.count_nonzero(is_used)))
        return CentroidOffset()

    def _brightest(self) -> dict[str, NDArray[Any]]:
        terms = max(part["design"].shape[1] for part in self._parts)
        for part in self._parts:
            # Terms of zeros change nothing.
            missing = terms - part["design"].shape[1]
            part["design"] = np.pad(part["design"], ((0, 0), (0, missing), (0, 0)))
        joined = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
        brightest = np.argsort(-joined["signal"], kind="stable")[:_MOST_SOURCES]
        return {name: values[brightest] for name, values in joined.items()}


def _steps(
    sources: dict[str, NDArray[Any]], profiles: Profiles, moved: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return offsets of sources from their moved positions, and the errors, both of shape (n, 2): x, y."""
    design = sources["design"]
    side = math.isqrt(design.shape[2])
    x, y = sources["x"] + moved[0], sources["y"] + moved[1]

    def light(dx: float, dy: float) -> NDArray[np.float64]:
        """Return the profiles at positions that are moved further."""
        return profiles.at(x + dx, y + dy, sources["left"], sources["bottom"], side).reshape(len(x), -1)

    if moved.any():
        design = np.concatenate([light(0, 0)[:, None, :], design[:, 1:]], axis=1)
    slopes = np.stack([light(_STEP, 0), light(0, _STEP)], axis=1) - design[:, :1]
    terms = np.concatenate([design, slopes * (sources["flux"] / _STEP)[:, None, None]], axis=1)
    fit = fit_linear(terms, sources["data"], sources["weights"])
    return np.where(fit.is_known, fit.values, np.nan)[:, -2:], fit.errors[:, -2:]


def mean_with_scatter(values: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[float, float]:
    """Return the weighted mean of values that may differ by more than their errors, and its error.

    Parameters
    ----------
    values, errors
        Values and their standard deviations, shape (n,). See
        `BrightSources.offset` for the formula.
    """
    weights = errors**-2.0
    total = weights.sum()
    excess = (weights * (values - (weights * values).sum() / total) ** 2).sum() - (len(values) - 1)
    if excess > 0:
        scatter = excess / (total - (weights**2).sum() / total)
        weights = 1 / (errors**2 + scatter)
        total = weights.sum()
    return float((weights * values).sum() / total), float(total**-0.5)
