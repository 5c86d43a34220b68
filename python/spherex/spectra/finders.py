"""Finding charts: the surroundings of a target in one image of each detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spherex.detectors import DETECTOR_IDS, DETECTORS
from spherex.errors import HeaderError
from spherex.headers import detector_of, exposure_middle
from spherex.image import draw_image

from .placing import motions_of, place_targets, positions_at
from .sources import catalog_of

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from spherex.image import SPHERExImage

MARKS = (1.5, 4.0)
"""Ends of the marks beside the target (pixels from its middle)."""


def plot_finders(images: Sequence[SPHERExImage], target: SkyCoord, side: int = 41, title: str = "") -> Figure:
    """Return a figure with the surroundings of a target in one image of each detector.

    Parameters
    ----------
    images
        Level 2 images or cutouts, as `spherex.read` returns them. Of the
        images of a detector, the first that contains the target is drawn.
    target
        Position of the target; with a proper motion it needs an ``obstime``.
        The marks beside it leave its pixels free.
    side
        Rows and columns to draw (pixels).
    title
        Title.

    Raises
    ------
    spherex.errors.HeaderError
        If an image has no detector, or the target moves and it has no time.
    spherex.errors.CatalogError
        If the target has no valid position or motion.
    ValueError
        If an image lacks a celestial WCS.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import spherex
    >>> from spherex.spectra import plot_finders
    >>> star = SkyCoord(310.1, 40.16, unit="deg")
    >>> plot_finders([spherex.read("image.fits")], star).savefig("finders.png")
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle(title or f"RA {target.icrs.ra.deg:.5f}°  Dec {target.icrs.dec.deg:+.5f}°", fontsize=12)
    numbers = dict.fromkeys(DETECTOR_IDS, 0)
    shown: dict[int, tuple[SPHERExImage, SkyCoord]] = {}
    for image in images:
        detector = detector_of(image.header, DETECTOR_IDS)
        if detector is None:
            raise HeaderError("an image has no DETECTOR in its header; finding charts need Level 2 images")
        numbers[detector] += 1
        position = _position_in(image, target)
        if detector not in shown and np.isfinite(place_in(image, position, detector)).all():
            shown[detector] = image, position
    panels = figure.subplots(2, 3).ravel()
    for axes, description in zip(panels, DETECTORS, strict=True):
        detector = description.id
        axes.set_xticks([])
        axes.set_yticks([])
        label = f"D{detector}"
        if detector not in shown:
            number = numbers[detector]
            text = f"outside of\n{number} image{'s' * (number > 1)}" if number else "no image"
            axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.4")
            axes.set_title(label, fontsize=10)
            axes.set_box_aspect(1)
            continue
        image, position = shown[detector]
        # Padded at an edge, so that the target is in the middle of each stamp.
        stamp = image.cutout(position=position, size=side, mode="pad")
        drawn, extend, _ = draw_image(axes, stamp)
        if image.wavelength is not None:
            label += f"   {image.wavelength.at(*place_in(image, position, detector))[0].to_value('um'):.3f} µm"
        axes.set_title(label, fontsize=10)
        middle = place_in(stamp, position, detector)
        for shift in ((1, 0), (0, 1)):
            ends = np.outer(MARKS, shift) + middle
            axes.plot(ends[:, 0], ends[:, 1], color="#00FFFF", linewidth=1.6, zorder=4)
        figure.colorbar(drawn, ax=axes, extend=extend, shrink=0.85, label=image.unit.to_string("unicode"))
    return figure


def _position_in(image: SPHERExImage, target: SkyCoord) -> SkyCoord:
    """Return the position of a target at the time of an image."""
    catalog = catalog_of(target)
    (motion,) = motions_of(catalog)
    time = exposure_middle(image.header) if motion else None
    if motion and time is None:
        raise HeaderError("the target moves, and an image has no time in its header")
    return target.icrs.reshape(()) if time is None else positions_at(catalog, time)[0]


def place_in(image: SPHERExImage, target: SkyCoord, detector: int) -> NDArray[np.float64]:
    """Return column and row of a target; NaN outside of the image.

    Parameters
    ----------
    image
        The image.
    target
        Position at the time of the image.
    detector
        Detector of the image, for the message.

    Raises
    ------
    ValueError
        If the image lacks a celestial WCS.
    """
    if image.wcs is None or not image.wcs.has_celestial:
        raise ValueError(f"the image of detector {detector} lacks a celestial WCS; use Level 2 images")
    placed = place_targets(image.wcs.celestial, target.icrs.reshape(1), image.data.shape, 0.0)
    if not placed.is_on_image.any():
        return np.full(2, np.nan)
    return np.array([placed.x[0], placed.y[0]])
