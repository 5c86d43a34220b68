"""Frames with known sources, hits, artefacts and errors, for `benchmarks.quality`.

The noise is that of simulated Level 2 images, and so is the PSF. Everything
that disturbs a measurement is made here, and is not that of the simulator.
"""

from __future__ import annotations

__all__ = ["Frame", "Scenario", "make_frame"]

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from spherex.detectors import FRAME_SIDE
from spherex.image import Box, FlagPlane, Psf
from spherex.spectra.measuring import MICROJANSKY
from spherex_simulator.level2 import RELEASES
from spherex_simulator.level2.psf import drawing_of, psf_plane

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spherex.image import FlagTable

_MICROJANSKY_OF_PIXEL = 37.8 * MICROJANSKY
"""Flux (uJy) of a pixel of 37.8 arcsec2 with 1 MJy/sr."""

_NOISE = {
    1: (0.056, 0.0174, 0.0022),
    2: (0.047, 0.0163, 0.0024),
    3: (0.031, 0.0158, 0.0026),
    4: (0.018, 0.0124, 0.0022),
    5: (0.056, 0.0421, 0.0067),
    6: (0.174, 0.0517, 0.0075),
}
"""Background and its standard deviation (MJy/sr), and slope of the variance (MJy/sr), in simulated images."""

_EDGE = 5
"""Distance of the first sources from the edge (pixels)."""

_BRIGHT, _CLIPPABLE = 1e4, 2e4
"""Fluxes (uJy) from which cores are flagged though good, and from which stars are clipped."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What disturbs the measurements of a frame.

    Parameters
    ----------
    hits, unflagged_hits
        Fractions of the pixels.
    flagged_cores
        Fraction of the bright stars whose good cores are flagged as hit.
    clipped
        Fraction of the brightest stars that are clipped.
    has_artefacts
        Whether there are snowballs, ghosts and streaks.
    distance
        Distance of sources on a lattice, or their mean distance (pixels).
    is_crowded
        Whether the sources are anywhere, one in ten of them not listed.
    listed_neighbours, unlisted_neighbours
        Fractions of the sources with a neighbour at 0.5 to 4 pixels.
    width
        Width of the PSF that measures, in units of the true one.
    offset
        Error of all positions (pixels).
    correlation
        Correlation of the noise of adjacent pixels.
    moving
        Fraction of the sources that move by 1 to 3 pixels.
    variance_factor
        Factor of VARIANCE.
    """

    hits: float = 0.006
    unflagged_hits: float = 0.0
    flagged_cores: float = 0.0
    clipped: float = 0.0
    has_artefacts: bool = False
    distance: float = 20.0
    is_crowded: bool = False
    listed_neighbours: float = 0.0
    unlisted_neighbours: float = 0.0
    width: float = 1.0
    offset: float = 0.0
    correlation: float = 0.0
    moving: float = 0.0
    variance_factor: float = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """A part of a frame and what is known of it.

    Parameters
    ----------
    data, variance
        Pixels (MJy/sr) and their variance.
    flags
        Flags.
    origin
        Column and row of the first pixel in the whole frame.
    psf
        The PSF to measure with.
    x, y
        Positions to measure at, in pixels of the whole frame, shape (n,).
    flux
        True fluxes, in the unit of the image times pixels, shape (n,).
    has_flagged_core
        Whether a source is bright and its good core is flagged, shape (n,).
    is_ruined
        Whether a source is clipped or moves, shape (n,).
    """

    data: NDArray[np.float32]
    variance: NDArray[np.float32]
    flags: FlagPlane
    origin: tuple[int, int]
    psf: Psf
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    has_flagged_core: NDArray[np.bool_]
    is_ruined: NDArray[np.bool_]


def make_frame(scenario: Scenario, release: str, detector: int, seed: int, side: int) -> Frame:
    """Make a part of a frame.

    Parameters
    ----------
    scenario
        What disturbs the measurements.
    release
        Name of the release whose PSF and flags the frame has, such as ``qr3``.
    detector
        Detector number.
    seed
        Seed of all random numbers.
    side
        Rows and columns of the part (pixels), which is in one of the four
        corners of the frame.
    """
    return _Maker(scenario, release, detector, seed, side).make()


class _Maker:
    """A frame in the making."""

    def __init__(self, scenario: Scenario, release: str, detector: int, seed: int, side: int) -> None:
        self._scenario, self._side = scenario, side
        # Frames of all detectors and scenarios differ.
        content = repr((scenario, release, detector)).encode()
        self._random = np.random.default_rng([seed, *content])
        form = RELEASES[release]
        self._table: FlagTable = form.flags
        self._psf = Psf.from_hdu(psf_plane(detector, form, form.wavelengths(detector)), form.version)
        self._drawing = drawing_of(detector, form.effective_psf)
        self._background, self._noise, self._slope = _NOISE[detector]
        x0, y0 = (self._random.integers(0, 2, 2) * (FRAME_SIDE - side)).tolist()
        self._box = Box(x0, x0 + side, y0, y0 + side)
        self._flags = np.zeros((side, side), np.int32)

    def make(self) -> Frame:
        scenario, random, side = self._scenario, self._random, self._side
        x, y, flux, is_listed = self._sources()
        light = self._background * (1 + random.uniform(-0.1, 0.1) * np.linspace(-1, 1, side)[:, None] * np.ones(side))
        is_moving = random.random(len(x)) < scenario.moving
        self._drawing.add(light, self._box, x[~is_moving], y[~is_moving], flux[~is_moving])
        self._draw_trails(light, x[is_moving], y[is_moving], flux[is_moving])
        dark = self._noise**2 - self._slope * self._background
        data = light + np.sqrt(dark + self._slope * light) * self._standard_noise()
        is_clipped = self._clip(data, x, y, (flux > _CLIPPABLE / _MICROJANSKY_OF_PIXEL) & ~is_moving)
        self._add_hits(data, scenario.hits, is_flagged=True)
        self._add_hits(data, scenario.unflagged_hits, is_flagged=False)
        if scenario.has_artefacts:
            self._add_artefacts(data)
        # The archive's variance is that of the measured rate.
        variance = scenario.variance_factor * np.maximum(dark + self._slope * data, dark / 2)
        is_bright = flux > _BRIGHT / _MICROJANSKY_OF_PIXEL
        has_flagged_core = self._flag_cores(variance, x, y, is_bright & ~is_clipped & ~is_moving)
        for name, share in (("HOT", 1e-3), ("NONFUNC", 1e-3)):
            is_dead = random.random(data.shape) < share
            data[is_dead] *= random.uniform(0, 30, is_dead.sum())
            self._flags[is_dead] |= self._table.bits(name)
        angle = random.uniform(0, 2 * math.pi)
        psf = self._psf if scenario.width == 1 else _with_width(self._psf, scenario.width)
        return Frame(
            data=data.astype(np.float32),
            variance=variance.astype(np.float32),
            flags=FlagPlane(self._flags, self._table),
            origin=(self._box.x0, self._box.y0),
            psf=psf,
            x=x[is_listed] + scenario.offset * math.cos(angle),
            y=y[is_listed] + scenario.offset * math.sin(angle),
            flux=flux[is_listed],
            has_flagged_core=has_flagged_core[is_listed],
            is_ruined=(is_clipped | is_moving)[is_listed],
        )

    def _sources(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return positions in the whole frame, fluxes from 0.03 to 100 mJy, and whether each is listed."""
        scenario, random = self._scenario, self._random
        if scenario.is_crowded:
            number = round((self._side / scenario.distance) ** 2)
            x, y = random.uniform(_EDGE, self._side - _EDGE, (2, number))
            is_listed = random.random(number) > 0.1
        else:
            columns, rows = np.meshgrid(*[np.arange(_EDGE, self._side - _EDGE, scenario.distance)] * 2)
            x, y = (places.ravel() + random.uniform(-0.5, 0.5, places.size) for places in (columns, rows))
            is_listed = np.ones(len(x), bool)
        flux = 10 ** random.uniform(1.5, 5, len(x)) / _MICROJANSKY_OF_PIXEL
        # An empty place has a flux, too.
        flux[random.random(len(x)) < 0.03] = 0
        number = len(x)
        for share, are_listed in ((scenario.listed_neighbours, True), (scenario.unlisted_neighbours, False)):
            chosen = np.flatnonzero(random.random(number) < share)
            distance, angle = random.uniform(0.5, 4, len(chosen)), random.uniform(0, 2 * np.pi, len(chosen))
            x = np.append(x, x[chosen] + distance * np.cos(angle))
            y = np.append(y, y[chosen] + distance * np.sin(angle))
            flux = np.append(flux, flux[chosen] * 10 ** random.uniform(-1.5, 0.5, len(chosen)))
            is_listed = np.append(is_listed, np.full(len(chosen), are_listed))
        return x + self._box.x0, y + self._box.y0, flux, is_listed

    def _draw_trails(
        self, light: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], flux: NDArray[np.float64]
    ) -> None:
        """Add sources that move during the exposure; in the middle of it they are in their place."""
        length, angle = self._random.uniform(1, 3, len(x)), self._random.uniform(0, np.pi, len(x))
        steps = (np.arange(16) + 0.5) / 16 - 0.5
        for step in steps:
            across, up = step * length * np.cos(angle), step * length * np.sin(angle)
            self._drawing.add(light, self._box, x + across, y + up, flux / len(steps))

    def _standard_noise(self) -> NDArray[np.float64]:
        noise = self._random.normal(size=(self._side, self._side))
        if self._scenario.correlation:
            # Adjacent values of a smoothed field have the correlation exp(-1 / (4 s^2)).
            noise = ndimage.gaussian_filter(noise, math.sqrt(-0.25 / math.log(self._scenario.correlation)), mode="wrap")
            noise /= noise.std()
        return noise

    def _patch(self, x: float, y: float, reach: int) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
        """Return the pixels around a position in the whole frame, and their offsets (x, y) from it."""
        column, row = x - self._box.x0, y - self._box.y0
        left, bottom = max(round(column) - reach, 0), max(round(row) - reach, 0)
        right, top = min(round(column) + reach + 1, self._side), min(round(row) + reach + 1, self._side)
        offsets = np.stack(np.meshgrid(np.arange(left, right) - column, np.arange(bottom, top) - row))
        return (slice(bottom, top), slice(left, right)), offsets

    def _flag_cores(
        self,
        variance: NDArray[np.float64],
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        is_bright: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Flag the good cores of bright stars; half of them have SUR_ERROR, and a quarter no variance."""
        random = self._random
        is_flagged = is_bright & (random.random(len(x)) < self._scenario.flagged_cores)
        for source in np.flatnonzero(is_flagged):
            patch, offsets = self._patch(x[source], y[source], 4)
            radii = random.uniform(0.8, 2.3, 2)
            is_core = np.hypot(offsets[0] / radii[0], offsets[1] / radii[1]) <= 1
            names = ("TRANSIENT", "SUR_ERROR") if random.random() < 0.5 else ("TRANSIENT",)
            self._flags[patch][is_core] |= self._table.bits(*names)
            if "SUR_ERROR" in names and random.random() < 0.5:
                variance[patch][is_core] = np.nan
        return is_flagged

    def _clip(
        self, data: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], can_be: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Clip the cores of stars; half of them have OVERFLOW."""
        random = self._random
        is_clipped = can_be & (random.random(len(x)) < self._scenario.clipped)
        for source in np.flatnonzero(is_clipped):
            patch, _ = self._patch(x[source], y[source], 4)
            values = data[patch]
            most = self._background + (values.max() - self._background) * random.uniform(0.25, 0.85)
            is_above = values > most
            # The level differs a little between pixels.
            values[is_above] = most * (1 + random.normal(0, 0.003, is_above.sum()))
            if random.random() < 0.5:
                self._flags[patch][is_above] |= self._table.bits("OVERFLOW")
        return is_clipped

    def _add_hits(self, data: NDArray[np.float64], share: float, *, is_flagged: bool) -> None:
        """Add the charge of particles until a fraction of the pixels is hit.

        There are compact clouds of charge with a width below that of the PSF,
        pixels with leakage into the four adjacent ones, and tracks that bend
        and deposit charge unevenly.
        """
        random = self._random
        left = share * data.size
        while left > 0:
            x = self._box.x0 + random.uniform(0, self._side - 1)
            y = self._box.y0 + random.uniform(0, self._side - 1)
            patch, (across, up) = self._patch(x, y, 9)
            kind = random.choice(3, p=[0.3, 0.4, 0.3])
            if kind == 0:
                charge = np.exp(-(np.hypot(across, up) ** 2) / 2 / random.uniform(0.2, 0.7) ** 2)
            elif kind == 1:
                distance = np.abs(np.rint(across)) + np.abs(np.rint(up))
                charge = np.where(distance == 0, 1.0, np.where(distance == 1, random.uniform(0, 0.15), 0.0))
            else:
                number = random.integers(4, 25)
                angle = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, 0.25, number))
                way = 0.35 * np.cumsum([np.cos(angle), np.sin(angle)], axis=1)[:, :, None, None]
                deposits = random.gamma(1.5, size=number)[:, None, None]
                distance = np.hypot(across - way[0], up - way[1])
                charge = (deposits * np.exp(-(distance**2) / 2 / 0.35**2)).sum(axis=0)
            # The number of hits decreases with the square root of their charge.
            most = self._noise * min(5 * (1 + random.pareto(0.5)), 1e5)
            charge *= most / max(charge.max(), 1e-12)
            is_hit = charge > self._noise
            data[patch] += charge
            if is_flagged:
                self._flags[patch][is_hit] |= self._table.bits("TRANSIENT")
            left -= max(int(is_hit.sum()), 1)

    def _add_artefacts(self, data: NDArray[np.float64]) -> None:
        """Add snowballs, ghosts and a streak, where the release has flags for them."""
        random, area = self._random, (self._side / FRAME_SIDE) ** 2
        rows, columns = np.ogrid[: self._side, : self._side]
        for name, number in (("SNOWBALL", 12), ("GHOST", 6), ("STREAK", 3)):
            if name not in self._table:
                continue
            for _ in range(max(round(number * area), 1)):
                column, row = random.uniform(0, self._side, 2)
                angle, radius = random.uniform(0, np.pi), random.uniform(6, 30)
                across, up = columns - column, rows - row
                if name == "SNOWBALL":
                    share = np.exp(-((np.hypot(across, up) / radius) ** 4))
                elif name == "GHOST":
                    share = np.exp(-(((np.hypot(across, 0.7 * up) - radius) / 4) ** 2))
                else:
                    share = np.exp(-(((across * np.sin(angle) - up * np.cos(angle)) / 1.2) ** 2))
                added = share * self._noise * 10 ** random.uniform(0.5, 2)
                data += added
                self._flags[added > self._noise / 2] |= self._table.bits(name)


def _with_width(psf: Psf, width: float) -> Psf:
    """Return a PSF whose width is multiplied by a factor."""
    zones, rows, columns = psf.samples.shape
    places = np.meshgrid(
        *[(np.arange(number) - (number - 1) / 2) / width + (number - 1) / 2 for number in (rows, columns)],
        indexing="ij",
    )
    samples = np.empty((zones, rows, columns))
    for zone, image in enumerate(psf.samples.astype(np.float64)):
        samples[zone] = ndimage.map_coordinates(image, places, order=3)
        samples[zone] *= image.sum() / samples[zone].sum()
    return dataclasses.replace(psf, samples=samples)
