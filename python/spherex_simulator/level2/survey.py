"""A simulated survey as Level 2 images and calibrations in the tree of the archive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.io import fits

from spherex.archive import CBAND, CWAVE, CalibrationName, ProcessingRun
from spherex.detectors import DETECTOR_IDS, FRAME_SIDE
from spherex.fits import Compression, WriteRecipe, write_product
from spherex.image import Box

from ..headers import make_header
from ..pointing import celestial_wcs, pointing_of
from ..survey import ExposureReport, SurveyError, SurveyFiles, whole_file, write_survey
from .frame import simulate_level2, solid_angle_of
from .psf import psf_plane
from .releases import Level2Settings


class Level2Files(SurveyFiles):
    """Level 2 images in the tree of the archive, their truth, and calibrations.

    Parameters
    ----------
    settings
        Settings of the simulation.
    directory
        Directory that contains ``<release>/level2/``, as in the archive, and
        the truth in ``<release>/truth/``.
    with_calibrations
        Whether to write wavelengths, solid angles and point spread functions
        as calibration files too, in ``<release>/<type>/``.
    """

    existing = "images"
    alternatives = "another --run, or another directory"

    def __init__(self, settings: Level2Settings, directory: Path, with_calibrations: bool = False) -> None:
        super().__init__(directory / settings.release.name)
        self._settings = settings
        self._with_calibrations = with_calibrations
        self._note = self.root / "truth" / f"{settings.run}.yaml"

    def paths(self, exposure: int, detector: int) -> tuple[Path, ...]:
        """Return the image of a detector in an exposure, and the table with its truth."""
        name = self._settings.name_of(exposure, detector)
        image = self.root / "level2" / name.tree
        # Not a name of an image: a search for images must not find it.
        truth = (self.root / "truth" / name.tree).with_name(f"truth_{image.stem}.ecsv")
        return image, truth

    def taken(self, exposure: int, detector: int) -> list[str]:
        """Return the name of the image if it or its truth exists already."""
        existing = super().taken(exposure, detector)
        return [str(self._settings.name_of(exposure, detector))] if existing else []

    def check_survey(self, frames: set[tuple[int, int]], overwrite: bool) -> None:
        """Compare the settings with the note about the processing run."""
        if overwrite or not self._note.exists():
            return
        try:
            found = yaml.safe_load(self._note.read_text())
        except yaml.YAMLError:
            found = None
        if found == _described(self._settings):
            return
        was = ", ".join(f"{key} {value}" for key, value in found.items()) if isinstance(found, dict) else "unknown"
        raise SurveyError(
            f"{self._note} describes another survey ({was}): use another --run, another directory or --overwrite."
        )

    def prepare(self) -> list[int]:
        """Make the directory of the truth, write the note about the processing run, and return its size."""
        self._note.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self._note) as path:
            path.write_text(yaml.safe_dump(_described(self._settings)))
            return [path.stat().st_size]

    def write(self, exposure: int, detector: int) -> list[int]:
        """Simulate and write an image and its truth; see `SurveyFiles.write`."""
        frame = simulate_level2(self._settings, exposure, detector)
        if frame is None:
            return []
        image, truth = self.paths(exposure, detector)
        for path in (image, truth):
            path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(truth) as part:
            frame.sources.write(part, format="ascii.ecsv", overwrite=True)
            sizes = [part.stat().st_size]
        # Tiles are rows, as in the files of Quick Release 3.
        rows = Compression(algorithm="RICE_1", tile=(1, frame.image.shape[1]))
        recipe = WriteRecipe(flags=rows if self._settings.release.effective_psf else None)
        with whole_file(image) as part:
            write_product(frame.image, part, recipe, overwrite=True)
            sizes.append(part.stat().st_size)
        return sizes

    def write_calibrations(self, detector: int, overwrite: bool) -> list[int]:
        """Write the calibrations of a detector that the simulation knows."""
        sizes = []
        runs = self._settings.release.calibration_runs if self._with_calibrations else {}
        for type_, run in runs.items():
            name = CalibrationName(type_, detector, ProcessingRun.parse(run))
            path = self.root / name.tree
            if overwrite or not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                sizes.append(write_calibration(self._settings, name, path))
        return sizes


def simulate_level2_survey(
    settings: Level2Settings,
    directory: Path,
    exposures: Sequence[int],
    detectors: Sequence[int] = DETECTOR_IDS,
    *,
    with_calibrations: bool = False,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> Iterator[ExposureReport]:
    """Simulate Level 2 images and write them; see `~spherex_simulator.survey.write_survey`.

    Parameters
    ----------
    settings
        Settings of the simulation.
    directory
        Directory of ``<release>/level2/``, as in the archive, and of the truth in
        ``<release>/truth/``; both are made if need be.
    exposures
        Numbers of the exposures.
    detectors
        Detector numbers.
    with_calibrations
        Whether to write wavelengths, solid angles and point spread functions
        as calibration files too, in ``<release>/<type>/``.
    overwrite
        Whether to replace existing files.
    skip_existing
        Whether to skip the images that exist with their truth.
    """
    files = Level2Files(settings, directory, with_calibrations)
    return write_survey(files, exposures, detectors, overwrite=overwrite, skip_existing=skip_existing)


def _described(settings: Level2Settings) -> dict[str, Any]:
    digest = None
    if settings.sources is not None:
        content = repr([settings.sources.names, *(column.tolist() for column in _numbers(settings))])
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return {
        "version": settings.release.version,
        "seed": settings.survey.seed,
        "shape": settings.side,
        "start": settings.survey.start.isoformat(),
        "centre": None if settings.centre is None else list(settings.centre),
        "stars": settings.with_stars,
        "sources": digest,
    }


def _numbers(settings: Level2Settings) -> list[Any]:
    sources = settings.sources
    return [] if sources is None else [sources.ra, sources.dec, sources.magnitude, sources.temperature, sources.slope]


def write_calibration(settings: Level2Settings, name: CalibrationName, path: Path) -> int:
    """Write a calibration: the exact wavelengths, solid angles or point spread functions.

    Parameters
    ----------
    settings
        Settings of the simulation.
    name
        Name of the calibration.
    path
        File to write; an existing one is replaced.

    Returns
    -------
    size : `int`
        Bytes written.
    """
    detector = name.detector or 1
    header = make_header("calibration_primary", {"VERSION": settings.release.version, "DETECTOR": detector})
    primary = fits.PrimaryHDU(header=header)
    hdus = fits.HDUList([primary, *_extensions(settings, name.type, detector)])
    with whole_file(path) as part:
        hdus.writeto(part, overwrite=True)
        return part.stat().st_size


def _extensions(settings: Level2Settings, type_: str, detector: int) -> list[fits.ImageHDU | fits.BinTableHDU]:
    wavelengths = settings.release.wavelengths(detector)
    if type_ == "spectral_wcs":
        names, maps = (CWAVE, CBAND), wavelengths.over(FRAME_SIDE)
        planes = [_image(name, plane, "um") for name, plane in zip(names, maps, strict=True)]
        return [*planes, wavelengths.hdu()]
    if type_ == "solid_angle_pixel_map":
        wcs = celestial_wcs(pointing_of(settings.survey, 0), detector, settings.survey)
        whole = Box(0, FRAME_SIDE, 0, FRAME_SIDE)
        return [_image("IMAGE", solid_angle_of(wcs).over(whole), "arcsec2")]
    return [psf_plane(detector, settings.release, wavelengths)]


def _image(name: str, pixels: np.ndarray, unit: str) -> fits.ImageHDU:
    hdu = fits.ImageHDU(pixels.astype(np.float32), name=name)
    hdu.header.extend(make_header("calibration_plane", {"BUNIT": unit}))
    return hdu
