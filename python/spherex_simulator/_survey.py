"""A whole simulated survey, exposure by exposure."""

from __future__ import annotations

__all__ = ["ALL_DETECTORS", "ExposureReport", "SurveyError", "simulate_survey"]

import dataclasses
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from astropy.io import fits

from spherex.detectors import DETECTORS

from ._files import MAXIMUM_EXPOSURES, FileNames, write_dark_truth, write_frame
from ._frame import simulate_frame
from ._settings import Settings

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
