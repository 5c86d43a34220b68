"""A set of simulated Level 2 images, and calibrations, written in the tree of the archive."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.io import fits

from spherex.archive import CBAND, CWAVE, CalibrationName, Level2Name, ProcessingRun
from spherex.fits import WriteRecipe, write_product
from spherex.fits.recipes import Compression
from spherex.image import Box
from spherex.instrument import FRAME_SIDE

from ..headers import make_header
from ..pointing import celestial_wcs, pointing_of
from ..survey import ALL_DETECTORS, MAXIMUM_EXPOSURES, ExposureReport, SurveyError, whole_file
from .frame import Level2Frame, simulate_level2, solid_angle_of
from .psf import psf_plane
from .releases import Level2Settings
from .wavelength import wavelength_table


def simulate_level2_survey(
    settings: Level2Settings,
    directory: Path,
    exposures: Sequence[int],
    detectors: Sequence[int] = ALL_DETECTORS,
    *,
    with_calibrations: bool = False,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> Iterator[ExposureReport]:
    """Simulate Level 2 images and write them, one exposure after the other.

    Every file appears under its name when it is complete. Nothing is written
    before the first report is asked for.

    Parameters
    ----------
    settings
        What to simulate.
    directory
        Below it lie ``<release>/level2/``, as in the archive, and the truth in
        ``<release>/truth/``; both are made if need be.
    exposures
        Numbers of the exposures.
    detectors
        Detector numbers.
    with_calibrations
        Whether to write wavelengths, solid angles and point spread functions
        as calibration files too, in ``<release>/<type>/``.
    overwrite
        Whether to replace files that exist.
    skip_existing
        Whether to leave the images that exist with their truth.

    Yields
    ------
    report : `ExposureReport`
        One for each exposure.

    Raises
    ------
    SurveyError
        If files exist already, or are those of another survey.
    OSError
        If a file cannot be written.
    """
    if not 0 <= min(exposures) <= max(exposures) < MAXIMUM_EXPOSURES:
        raise SurveyError(f"Exposures are numbered from 0 to {MAXIMUM_EXPOSURES - 1}.")
    root = directory / settings.release.name
    names = {
        (exposure, detector): settings.name_of(exposure, detector) for exposure in exposures for detector in detectors
    }
    if not (overwrite or skip_existing):
        _check_free(root, list(names.values()))
    note = root / "truth" / f"{settings.run}.yaml"
    _check_survey(note, settings, overwrite)
    note.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(note) as path:
        path.write_text(yaml.safe_dump(_described(settings)))
    calibrated: set[int] = set()
    for exposure in exposures:
        begin = time.monotonic()
        files = size = skipped = 0
        for detector in detectors:
            image, truth = _paths(root, names[exposure, detector])
            if with_calibrations and detector not in calibrated:
                written = _write_calibrations(settings, root, detector, overwrite)
                files, size = files + len(written), size + sum(written)
                calibrated.add(detector)
            if skip_existing and image.exists() and truth.exists():
                skipped += 2
                continue
            frame = simulate_level2(settings, exposure, detector)
            if frame is not None:
                size += _write(frame, image, truth, settings)
                files += 2
        yield ExposureReport(exposure, files, size, skipped, time.monotonic() - begin)


def _paths(root: Path, name: Level2Name) -> tuple[Path, Path]:
    """Return where an image and the truth about it lie."""
    image = root / "level2" / name.tree
    # Its name must not look like that of an image, which may be searched for.
    truth = (root / "truth" / name.tree).with_name(f"truth_{image.stem}.ecsv")
    return image, truth


def _write(frame: Level2Frame, image: Path, truth: Path, settings: Level2Settings) -> int:
    size = 0
    for path in (image, truth):
        path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(truth) as part:
        frame.sources.write(part, format="ascii.ecsv", overwrite=True)
        size += part.stat().st_size
    # Tiles are rows, as in the files of Quick Release 3.
    rows = Compression(algorithm="RICE_1", tile=(1, frame.image.shape[1]))
    recipe = WriteRecipe(flags=rows if settings.release.effective_psf else None)
    with whole_file(image) as part:
        write_product(frame.image, part, recipe, overwrite=True)
        size += part.stat().st_size
    return size


def _write_calibrations(settings: Level2Settings, root: Path, detector: int, overwrite: bool) -> list[int]:
    sizes = []
    for name in calibration_names(settings, detector):
        path = root / name.tree
        if overwrite or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            sizes.append(write_calibration(settings, name, path))
    return sizes


def _check_free(root: Path, names: Sequence[Level2Name]) -> None:
    taken = [name for name in names if any(path.exists() for path in _paths(root, name))]
    if taken:
        raise SurveyError(
            f"{root} has {len(taken)} of the images already, such as {taken[0]}: "
            "use --skip-existing to complete them, --overwrite to replace them, another --run, or another directory."
        )


def _check_survey(note: Path, settings: Level2Settings, overwrite: bool) -> None:
    """Refuse to mix two skies in one processing run."""
    if overwrite or not note.exists():
        return
    try:
        found = yaml.safe_load(note.read_text())
    except yaml.YAMLError:
        found = None
    if found == _described(settings):
        return
    was = ", ".join(f"{key} {value}" for key, value in found.items()) if isinstance(found, dict) else "unknown"
    raise SurveyError(f"{note} tells of another survey ({was}): use another --run, another directory or --overwrite.")


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


_RUNS = {
    "qr2": {
        "spectral_wcs": "cal-wcs-v4-2025-254",
        "solid_angle_pixel_map": "cal-sapm-v2-2025-164",
        "average_psf": "cal-psf-v5-2026-082",
    },
    "qr3": {
        "spectral_wcs": "cal-swcs-v5-2026-191",
        "solid_angle_pixel_map": "cal-sapm-v3-2026-191",
        "epsf": "cal-epsf-v1-2026-191",
    },
}
"""Runs of the archive that made the calibrations of each release."""


def calibration_names(settings: Level2Settings, detector: int) -> list[CalibrationName]:
    """Return the archive's names of the calibrations of a detector."""
    return [
        CalibrationName(type_, detector, ProcessingRun.parse(run))
        for type_, run in _RUNS[settings.release.name].items()
    ]


def write_calibration(settings: Level2Settings, name: CalibrationName, path: Path) -> int:
    """Write what the simulation knows exactly: wavelengths, solid angles or point spread function.

    Parameters
    ----------
    settings
        What is simulated.
    name
        Which calibration.
    path
        Where to write; an existing file is replaced.

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
    wavelengths = wavelength_table(detector, settings.release.wavelength_points)
    if type_ == "spectral_wcs":
        rows, columns = np.indices((FRAME_SIDE, FRAME_SIDE), dtype=float)
        maps = wavelengths.at(columns, rows)
        names = (CWAVE, CBAND)
        planes = [_image(name, one, "um") for name, one in zip(names, maps, strict=True)]
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
