"""Fluxes of point sources at known positions, fitted together with their neighbours."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .apertures import aperture_fluxes, aperture_weights
from .fit import Fit, fit_stamps
from .residuals import (
    core_misfits,
    errors_with_profile,
    has_plateau,
    profile_errors,
    reject_outliers,
    rescue_cores,
)
from .stamps import BATCH_SIZE, Stamps, cut_stamps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .centroids import BrightSources
    from .profiles import Profiles
    from .stamps import Pixels


MOST_NEIGHBOURS = 100
"""Largest number of neighbours fitted together with a target; with more it has no flux."""

_LEAST_LIGHT = 1e-4  # fraction of a neighbour's flux in the pixels; with less it is ignored
_MOST_PAIRS = 4 * BATCH_SIZE  # of targets and neighbours in a batch: some twenty Mbyte
_CLIPPING = 3.0  # standard deviations


def find_neighbours(
    x: NDArray[np.float64], y: NDArray[np.float64], wanted: NDArray[np.intp], reach: float
) -> list[NDArray[np.intp]]:
    """Return the indices of the other sources in the square around each target.

    Parameters
    ----------
    x, y
        Positions of all sources (pixels), shape (m,).
    wanted
        Indices of the targets, shape (n,).
    reach
        Half of the side of the square (pixels).
    """
    from scipy.spatial import KDTree

    positions = np.stack([x, y], axis=-1)
    near: list[list[int]] = KDTree(positions).query_ball_point(positions[wanted], reach, p=np.inf, return_sorted=True)
    return [
        np.array([source for source in sources if source != target], np.intp)
        for target, sources in zip(wanted, near, strict=True)
    ]


def batches(neighbours: list[NDArray[np.intp]]) -> Iterator[slice]:
    """Yield slices of the targets that need limited memory, each of at least one target."""
    sizes = np.array([1 + len(sources) for sources in neighbours], np.int64)
    begin = 0
    while begin < len(sizes):
        total = np.cumsum(sizes[begin : begin + BATCH_SIZE])
        end = begin + max(int(np.searchsorted(total, _MOST_PAIRS, side="right")), 1)
        yield slice(begin, end)
        begin = end


def cores_of_neighbours(
    stamps: Stamps, x: NDArray[np.float64], y: NDArray[np.float64], rows: NDArray[np.intp], radius: float
) -> NDArray[np.bool_]:
    """Return whether a pixel is near a neighbour inside of the stamp, shape (n, side, side).

    Parameters
    ----------
    stamps
        Stamps of the targets.
    x, y
        Positions of the neighbours in pixels of the whole frame, from 0, shape (k,).
    rows
        Index of the stamp of each neighbour, ascending, shape (k,).
    radius
        Largest distance of a pixel (pixels).
    """
    column, line = (np.rint(position) - begin[rows] for position, begin in ((x, stamps.left), (y, stamps.bottom)))
    is_inside = (column >= 0) & (column < stamps.side) & (line >= 0) & (line < stamps.side)
    is_core = np.zeros(stamps.data.shape, bool)
    rows = rows[is_inside]
    if len(rows):
        is_near = stamps.is_within(radius, x[is_inside], y[is_inside], rows)
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        is_core[rows[first]] = np.logical_or.reduceat(is_near, first, axis=0)
    return is_core


@dataclasses.dataclass(frozen=True)
class FluxSettings:
    """Settings of the measurement of fluxes.

    Parameters
    ----------
    side
        Side of the stamp around a target (pixels), an odd number.
    core
        Radius around a target within which doubtful pixels are used (pixels),
        and the radius of its core: bright stars themselves set the flags of
        sources.
    aperture
        Radius of the aperture (pixels).
    most_masked
        Largest fraction of the PSF on unusable pixels for which a flux is
        measured.
    least_background
        Number of pixels that are not doubtful below which doubtful pixels are
        used as background too, after clipping.
    """

    side: int = 15
    core: float = 2.5
    aperture: float = 2.0
    most_masked: float = 0.5
    least_background: int = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Fluxes:
    """Measurements, all of shape (n,), in the unit of the image times pixels.

    A flux is NaN if it could not be measured; ``reason`` then says why.

    Parameters
    ----------
    flux, flux_error
        By fit of the PSF. The error contains that of the PSF, see
        `spherex.photometry.residuals.errors_with_profile`.
    signal_to_noise
        Flux divided by its error from noise alone.
    surface_brightness
        Median of the good pixels in the square around the target, in the unit
        of the image, also without a flux.
    background, background_error
        Local background, in the unit of the image.
    aperture_flux, aperture_flux_error
        In the aperture, divided by the enclosed fraction.
    enclosed_fraction
        Fraction of the PSF on the used pixels of the aperture.
    chi2, dof
        Of the fit, and its degrees of freedom.
    core_chi2, core_dof
        Of the used pixels in the core, and their number less one.
    masked_fraction
        Fraction of the PSF on pixels that were not used.
    rejected
        Number of pixels of the core that were rejected because they contradict
        all others.
    is_rescued
        Whether suspect pixels of the core were used.
    flags
        Flags of all pixels that were used, joined by OR.
    core_flags
        Flags of all pixels of the core, joined by OR.
    neighbours
        Number of other sources fitted together.
    blending
        Largest correlation of the flux with that of a neighbour, 0 to 1.
    is_clipped
        Whether the background is from clipped doubtful pixels.
    is_cut
        Whether the square of pixels extends beyond the image.
    has_plateau
        Whether the core is flat where the PSF is not.
    reason
        Why there is no flux; empty if there is one.
    """

    flux: NDArray[np.float64]
    flux_error: NDArray[np.float64]
    signal_to_noise: NDArray[np.float64]
    surface_brightness: NDArray[np.float64]
    background: NDArray[np.float64]
    background_error: NDArray[np.float64]
    aperture_flux: NDArray[np.float64]
    aperture_flux_error: NDArray[np.float64]
    enclosed_fraction: NDArray[np.float64]
    chi2: NDArray[np.float64]
    dof: NDArray[np.int64]
    core_chi2: NDArray[np.float64]
    core_dof: NDArray[np.int64]
    masked_fraction: NDArray[np.float64]
    rejected: NDArray[np.int64]
    is_rescued: NDArray[np.bool_]
    flags: NDArray[np.int64]
    core_flags: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    blending: NDArray[np.float64]
    is_clipped: NDArray[np.bool_]
    is_cut: NDArray[np.bool_]
    has_plateau: NDArray[np.bool_]
    reason: NDArray[np.object_]


def measure_fluxes(
    pixels: Pixels,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    wanted: NDArray[np.intp],
    profiles: Profiles,
    settings: FluxSettings | None = None,
    slopes: NDArray[np.float64] | None = None,
    bright: BrightSources | None = None,
) -> Fluxes:
    """Measure fluxes by a fit of the PSF, and in apertures.

    Flux, local background and the fluxes of neighbours are fitted together, so
    that the error of each contains its correlation with the others.

    Parameters
    ----------
    pixels
        The image, or the part of it around the targets.
    x, y
        Positions of all known sources in pixels of the whole frame, from 0,
        shape (m,).
    wanted
        Indices of the targets to measure, shape (n,); the other sources are
        neighbours.
    profiles
        PSF.
    settings
        Settings; by default those of `FluxSettings`.
    slopes
        Direction along x and y in which the background may change linearly,
        shape (n, 2). The background is constant if it is `None`, and for
        directions that are zero or not finite.
    bright
        Collection to which the fits of bright sources are added.

    Returns
    -------
    fluxes
        In the order of ``wanted``.
    """
    settings = settings or FluxSettings()
    fluxes = _blank(len(wanted))
    # A target is up to half a pixel away from the middle of its stamp, and its
    # light falls on whole pixels.
    neighbours = find_neighbours(x, y, wanted, settings.side / 2 + profiles.reach + 0.5)
    for rows in batches(neighbours):
        batch = _Batch(pixels, x, y, wanted[rows], neighbours[rows], profiles, settings, bright)
        batch.measure(None if slopes is None else slopes[rows])
        for field in dataclasses.fields(Fluxes):
            getattr(fluxes, field.name)[rows] = getattr(batch.fluxes, field.name)
    return fluxes


def _blank(number: int) -> Fluxes:
    blanks: dict[str, Any] = {field.name: np.nan for field in dataclasses.fields(Fluxes)}
    blanks |= dict.fromkeys(("dof", "core_dof", "rejected", "flags", "core_flags", "neighbours"), 0)
    blanks |= dict.fromkeys(("is_rescued", "is_clipped", "is_cut", "has_plateau"), False)
    blanks["blending"] = 0.0
    values = {name: np.full(number, blank) for name, blank in blanks.items()}
    return Fluxes(**values | {"reason": np.full(number, "", object)})


def _blending(fit: Fit, neighbours: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the largest correlation of the first term with one of the last ones, shape (n,)."""
    errors = np.where(fit.errors > 0, fit.errors, np.inf)
    correlations: NDArray[np.float64] = np.abs(fit.covariance[:, 0] / (errors[:, :1] * errors))
    terms = correlations.shape[1]
    is_last = np.arange(terms) >= terms - neighbours[:, None]
    return correlations.max(axis=1, where=is_last, initial=0.0)


class _Batch:
    """Targets measured together."""

    def __init__(
        self,
        pixels: Pixels,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        wanted: NDArray[np.intp],
        neighbours: list[NDArray[np.intp]],
        profiles: Profiles,
        settings: FluxSettings,
        bright: BrightSources | None,
    ) -> None:
        self._x, self._y = x[wanted], y[wanted]
        self._bright = bright
        self._profiles = profiles
        self._settings = settings
        self._stamps = cut_stamps(pixels, self._x, self._y, settings.side)
        self._is_core = self._stamps.is_within(settings.core, self._x, self._y)
        # Pairs of a stamp and a neighbour. Many neighbours are targets too: the light of each source is computed once.
        own = np.arange(len(wanted))
        self._stamp_of = np.repeat(own, [len(sources) for sources in neighbours])
        others = np.concatenate([np.empty(0, np.intp), *neighbours])
        self._others = x[others], y[others]
        sources, source_of = np.unique(np.concatenate([wanted, others]), return_inverse=True)
        squares = np.concatenate([own, self._stamp_of])
        left, bottom = self._stamps.left[squares], self._stamps.bottom[squares]
        light = profiles.at(x[sources], y[sources], left, bottom, settings.side, source_of)
        self._own, self._light = light[: len(own)], light[len(own) :]
        self.fluxes = _blank(len(wanted))

    def measure(self, slopes: NDArray[np.float64] | None) -> None:
        """Compute `fluxes`."""
        number, pixels = len(self._own), self._settings.side**2
        used = self._used_pixels()
        # A neighbour whose PSF is not known (NaN) matters: no flux can be measured beside it.
        matters = ~(np.einsum("nij,nij->n", self._light, used[self._stamp_of]) <= _LEAST_LIGHT)
        stamp_of, light = self._stamp_of[matters], self._light[matters]
        sizes = np.bincount(stamp_of, minlength=number)
        self.fluxes.neighbours[:], self.fluxes.is_cut[:] = sizes, ~self._stamps.is_whole
        self.fluxes.surface_brightness[:] = self._stamps.brightness()
        has_slope = np.zeros(len(sizes), bool)
        if slopes is not None:
            length = np.hypot(*slopes.T)
            has_slope = np.isfinite(length) & (length > 0)
        # An even number of terms, so that fewer are fitted apart: a term of zeros changes nothing.
        terms = 2 + has_slope + sizes
        terms += terms % 2
        # The neighbours are the last terms.
        place = terms[stamp_of] - 1 - (np.cumsum(sizes)[stamp_of] - 1 - np.arange(len(stamp_of)))
        for width in np.unique(terms[sizes <= MOST_NEIGHBOURS]).tolist():
            rows = np.flatnonzero((terms == width) & (sizes <= MOST_NEIGHBOURS))
            design = np.zeros((len(rows), width, pixels))
            design[:, 0], design[:, 1] = self._own[rows].reshape(len(rows), pixels), 1.0
            if slopes is not None and (is_sloped := has_slope[rows]).any():
                sloped = rows[is_sloped]
                design[is_sloped, 2] = self._ramp(sloped, slopes[sloped]).reshape(len(sloped), pixels)
            near = np.flatnonzero(np.isin(stamp_of, rows))
            design[np.searchsorted(rows, stamp_of[near]), place[near]] = light[near].reshape(len(near), pixels)
            self._solve(rows, design, used[rows].reshape(len(rows), pixels))
        self._judge()

    def _used_pixels(self) -> NDArray[np.bool_]:
        stamps = self._stamps
        is_core = self._is_core | cores_of_neighbours(stamps, *self._others, self._stamp_of, self._settings.core)
        around = stamps.is_good & ~is_core
        used = stamps.is_good & (is_core | ~stamps.is_doubtful)
        few = np.flatnonzero((around & used).sum(axis=(1, 2)) < self._settings.least_background)
        for row in few:
            used[row] = stamps.is_good[row] & is_core[row] | _clipped(stamps.data[row], around[row])
        self.fluxes.is_clipped[few] = (around & stamps.is_doubtful)[few].any(axis=(1, 2))
        return used

    def _whole_light(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the light of the targets in pixels of any number: what is outside of the file counts as masked."""
        if self._profiles.side <= self._settings.side:
            whole: NDArray[np.float64] = self._own[rows].sum(axis=(1, 2))
            return whole
        half = self._profiles.side // 2
        x, y = self._x[rows], self._y[rows]
        left, bottom = (np.rint(position).astype(np.int64) - half for position in (x, y))
        return self._profiles.at(x, y, left, bottom).sum(axis=(1, 2))

    def _ramp(self, rows: NDArray[np.intp], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a background that changes by one over half of the stamp."""
        stamps = self._stamps
        steps = np.arange(stamps.side)
        across = (stamps.left[rows] - self._x[rows])[:, None] + steps
        up = (stamps.bottom[rows] - self._y[rows])[:, None] + steps
        unit = slopes / np.hypot(*slopes.T)[:, None] / (stamps.side / 2)
        return unit[:, 1, None, None] * up[:, :, None] + unit[:, 0, None, None] * across[:, None, :]

    def _solve(self, rows: NDArray[np.intp], design: NDArray[np.float64], used: NDArray[np.bool_]) -> None:
        stamps, fluxes, shape = self._stamps.take(rows), self.fluxes, used.shape
        data, variance, flags, is_suspect, has_variance = (
            getattr(stamps, name).reshape(shape) for name in ("data", "variance", "flags", "is_suspect", "has_variance")
        )
        is_core = self._is_core[rows].reshape(shape)
        whole = self._whole_light(rows)
        fits = fit_stamps(design, data, variance, used)
        rejected = reject_outliers(fits, is_core)
        # Where the good pixels do not suffice.
        least = 1 - self._settings.most_masked
        added = is_suspect & is_core
        few = np.flatnonzero((fits.fractions(whole) < least) & added.any(axis=1))
        if len(few):
            rescued, rejected_then = rescue_cores(
                fits, few, added[few], has_variance[few], is_core[few], whole[few], least
            )
            rejected[rescued] = rejected_then
            fluxes.is_rescued[rows[rescued]] = True
        fit, used, fraction = fits.fit, fits.used, fits.fractions(whole)
        (flux, background), (error, background_error) = fit.values[:, :2].T, fit.errors[:, :2].T
        columns = np.flatnonzero(is_core.any(axis=0))
        cores, is_core = fits.cut(columns), is_core.take(columns, axis=1)
        chi2, dof = core_misfits(cores, is_core)
        with np.errstate(divide="ignore", invalid="ignore"):
            fluxes.signal_to_noise[rows] = flux / error
        error = errors_with_profile(error, flux, fraction, profile_errors(chi2, dof, flux, error))
        is_known, background_is_known = fit.is_known[:, :2].T
        fluxes.flux[rows], fluxes.flux_error[rows] = (np.where(is_known, part, np.nan) for part in (flux, error))
        fluxes.background[rows] = np.where(background_is_known, background, np.nan)
        fluxes.background_error[rows] = np.where(background_is_known, background_error, np.nan)
        fluxes.chi2[rows] = np.where(used, fits.residuals() ** 2 / fits.variance, 0.0).sum(axis=1)
        fluxes.dof[rows] = used.sum(axis=1) - fit.rank
        fluxes.core_chi2[rows], fluxes.core_dof[rows] = chi2, dof
        fluxes.rejected[rows] = rejected
        fluxes.has_plateau[rows] = has_plateau(cores, is_core)
        # It would be negative by rounding, or by negative samples of a PSF.
        fluxes.masked_fraction[rows] = np.maximum(1 - fraction, 0)
        fluxes.flags[rows] = np.bitwise_or.reduce(flags * used, axis=1)
        fluxes.core_flags[rows] = np.bitwise_or.reduce(flags.take(columns, axis=1) * is_core, axis=1)
        fluxes.blending[rows] = _blending(fit, fluxes.neighbours[rows])
        weights = aperture_weights(stamps, self._x[rows], self._y[rows], self._settings.aperture).reshape(shape)
        fluxes.aperture_flux[rows], fluxes.aperture_flux_error[rows], fluxes.enclosed_fraction[rows] = aperture_fluxes(
            weights * used, design, data, used / fits.variance, fit
        )
        if self._bright is not None:
            masked, blending, has_plateau_in_core = (
                getattr(fluxes, name)[rows] for name in ("masked_fraction", "blending", "has_plateau")
            )
            self._bright.add(fits, stamps, self._x[rows], self._y[rows], has_plateau_in_core, masked, blending)

    def _judge(self) -> None:
        """Set the reason of targets without a flux."""
        fluxes = self.fluxes
        for row in np.flatnonzero(fluxes.masked_fraction > self._settings.most_masked):
            fluxes.reason[row] = "too much of the PSF is on pixels that cannot be used"
        for row in np.flatnonzero((fluxes.neighbours > MOST_NEIGHBOURS) & (fluxes.reason == "")):
            fluxes.reason[row] = (
                f"{fluxes.neighbours[row]} neighbours have light in its pixels, more than the {MOST_NEIGHBOURS}"
                " that are fitted together"
            )
        undetermined = ~np.isfinite(fluxes.flux) | (fluxes.dof <= 0)
        for row in np.flatnonzero(undetermined & (fluxes.reason == "")):
            fluxes.reason[row] = (
                "its pixels do not separate its flux from those of its neighbours"
                if fluxes.neighbours[row]
                else "too few usable pixels for a flux and a background"
            )
        without = fluxes.reason != ""
        for name in ("flux", "flux_error", "aperture_flux", "aperture_flux_error", "background", "background_error"):
            getattr(fluxes, name)[without] = np.nan


def _clipped(data: NDArray[np.float64], is_candidate: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the candidate pixels that remain after clipping around their median."""
    from astropy.stats import sigma_clip

    if not is_candidate.any():
        return is_candidate
    clipped = sigma_clip(np.ma.masked_array(data, ~is_candidate), _CLIPPING, cenfunc="median", stdfunc="mad_std")
    return ~np.ma.getmaskarray(clipped)
