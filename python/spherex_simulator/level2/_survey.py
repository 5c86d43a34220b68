"""A set of simulated Level 2 images, written in the tree of the archive."""

from __future__ import annotations

__all__ = ["simulate_level2_survey"]

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from spherex.archive import Level2Name
from spherex.fits import Compression, WriteRecipe, write_product

from .._files import MAXIMUM_EXPOSURES, whole_file
from .._survey import ALL_DETECTORS, ExposureReport, SurveyError
from ._calibrations import calibration_names, write_calibration
from ._frame import Level2Frame, simulate_level2
from ._settings import Level2Settings


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
