"""A whole simulated survey: names of its files, and writing them exposure by exposure."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

from spherex.fits import write_product
from spherex.image import SPHERExImage
from spherex.instrument import DETECTORS

from .frame import Frame, simulate_frame
from .headers import make_header
from .settings import Settings

MAXIMUM_EXPOSURES = 1_000_000
"""Exposures that six digits can number."""


@dataclasses.dataclass(frozen=True)
class FileNames:
    """Where the files of a simulation lie.

    No name of a truth file contains those of the images.

    Parameters
    ----------
    directory
        Where all the files lie.
    """

    directory: Path

    def raw(self, exposure: int, detector: int) -> Path:
        """Return the image of a detector in an exposure."""
        return self.directory / f"sim_exposure_{exposure:06d}_array_{detector}.fits"

    def dark(self, exposure: int, detector: int) -> Path:
        """Return the dark current map of a detector for an exposure."""
        return self.directory / f"sim_exposure_{exposure:06d}_array_{detector}_dark_current.fits"

    def sources(self, exposure: int, detector: int) -> Path:
        """Return the table of the sources in an image."""
        return self.directory / f"sim_truth_exposure_{exposure:06d}_array_{detector}_sources.ecsv"

    def sky(self, exposure: int, detector: int) -> Path:
        """Return the image without dark current, noise and cosmic rays."""
        return self.directory / f"sim_truth_exposure_{exposure:06d}_array_{detector}_sky.fits"

    def dark_truth(self, detector: int) -> Path:
        """Return the dark current of a detector without noise."""
        return self.directory / f"sim_truth_dark_array_{detector}.fits"

    def of_frame(self, exposure: int, detector: int, with_sky: bool) -> list[Path]:
        """Return all files of a detector in an exposure."""
        kinds = [self.raw, self.dark, self.sources] + [self.sky] * with_sky
        return [kind(exposure, detector) for kind in kinds]


def write_frame(frame: Frame, names: FileNames, exposure: int, detector: int, with_sky: bool) -> int:
    """Write the files of one detector in one exposure; existing ones are replaced.

    Parameters
    ----------
    frame
        What to write.
    names
        Where to write it.
    exposure, detector
        What it is.
    with_sky
        Whether to write the image without dark current and noise too.

    Returns
    -------
    size : `int`
        Bytes written.
    """
    with whole_file(names.sources(exposure, detector)) as path:
        frame.sources.write(path, format="ascii.ecsv", overwrite=True)
        size = path.stat().st_size
    images = {names.dark: frame.dark, names.raw: frame.raw} | ({names.sky: frame.sky} if with_sky else {})
    for name, image in images.items():
        with whole_file(name(exposure, detector)) as path:
            write_product(image, path, overwrite=True)
            size += path.stat().st_size
    return size


def write_dark_truth(dark: np.ndarray, settings: Settings, names: FileNames, detector: int) -> None:
    """Write the dark current of a detector without noise; an existing file is replaced.

    Parameters
    ----------
    dark
        Dark current, electron/s, float32.
    settings
        The survey, which is noted in the header.
    names
        Where to write it.
    detector
        Detector number.
    """
    header = make_header(
        "raw_dark_truth",
        {"DETECTOR": detector, "SIM_SEED": settings.seed, "SIM_STRT": settings.start.isoformat()},
    )
    with whole_file(names.dark_truth(detector)) as path:
        write_product(SPHERExImage(dark, header=header), path, overwrite=True)


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a name to write to; what was written gets the final name at the end."""
    # The name must not look like one of the products, which may be searched
    # for while this runs.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".spherex-simulate-", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


ALL_DETECTORS = tuple(detector.id for detector in DETECTORS)
"""Numbers of the detectors."""

_EXPOSURE_FILE = re.compile(r"sim_(?:truth_)?exposure_(\d{6})_array_(\d)\D")


class SurveyError(Exception):
    """What is asked for does not fit what is in the output directory."""


@dataclasses.dataclass(frozen=True)
class ExposureReport:
    """What was done for one exposure.

    Parameters
    ----------
    exposure
        Number of the exposure.
    files
        Files written.
    size
        Bytes written.
    skipped
        Files that were there and were left.
    seconds
        Time taken.
    """

    exposure: int
    files: int
    size: int
    skipped: int
    seconds: float


def simulate_survey(
    settings: Settings,
    directory: Path,
    exposures: Sequence[int],
    detectors: Sequence[int] = ALL_DETECTORS,
    *,
    with_sky: bool = False,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> Iterator[ExposureReport]:
    """Simulate exposures and write them, one after the other.

    Every file appears under its name when it is complete. Nothing is written
    before the first report is asked for.

    Parameters
    ----------
    settings
        The survey.
    directory
        Where to write; it is made if need be.
    exposures
        Numbers of the exposures.
    detectors
        Detector numbers.
    with_sky
        Whether to write the images without dark current and noise too.
    overwrite
        Whether to replace files that exist.
    skip_existing
        Whether to leave the detectors of which all files exist.

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
    directory.mkdir(parents=True, exist_ok=True)
    names = FileNames(directory)
    frames = {(exposure, detector) for exposure in exposures for detector in detectors}
    _check_survey(settings, names, frames, overwrite)
    if not (overwrite or skip_existing):
        _check_free(names, sorted(frames), with_sky)
    dark_truths: set[int] = set()
    for exposure in exposures:
        begin = time.monotonic()
        files = size = skipped = 0
        for detector in detectors:
            targets = names.of_frame(exposure, detector, with_sky)
            if skip_existing and all(one.exists() for one in (*targets, names.dark_truth(detector))):
                skipped += len(targets)
                continue
            frame = simulate_frame(settings, exposure, detector)
            if detector not in dark_truths:
                write_dark_truth(frame.dark_truth, settings, names, detector)
                dark_truths.add(detector)
            size += write_frame(frame, names, exposure, detector, with_sky)
            files += len(targets)
        yield ExposureReport(exposure, files, size, skipped, time.monotonic() - begin)


def _check_free(names: FileNames, frames: Sequence[tuple[int, int]], with_sky: bool) -> None:
    existing = {path.name for path in names.directory.iterdir()}
    taken = [
        target.name
        for exposure, detector in frames
        for target in names.of_frame(exposure, detector, with_sky)
        if target.name in existing
    ]
    if taken:
        raise SurveyError(
            f"{names.directory} has {len(taken)} of the files already, such as {taken[0]}: "
            "use --skip-existing to complete them, --overwrite to replace them, or another directory."
        )


def _check_survey(settings: Settings, names: FileNames, frames: set[tuple[int, int]], overwrite: bool) -> None:
    """Refuse to mix the exposures of two surveys in a directory."""
    for detector in ALL_DETECTORS:
        path = names.dark_truth(detector)
        if not path.exists():
            continue
        try:
            header = fits.getheader(path, "IMAGE")
            found = header["SIM_SEED"], header["NAXIS1"], header["SIM_STRT"]
        except (OSError, KeyError):
            raise SurveyError(f"{path} is not a truth file of this simulator: move it away.") from None
        if found == (settings.seed, settings.side, settings.start.isoformat()):
            continue
        matches = (_EXPOSURE_FILE.match(one.name) for one in names.directory.iterdir())
        others = {(int(match[1]), int(match[2])) for match in matches if match} - frames
        if not overwrite or others:
            remedy = "use another directory" if overwrite else "use another directory or --overwrite"
            raise SurveyError(
                f"{names.directory} holds another survey "
                f"(--seed {found[0]} --shape {found[1]} --start {found[2]}): {remedy}."
            )
