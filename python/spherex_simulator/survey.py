"""A whole simulated survey: names of its files, and writing them exposure by exposure."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from astropy.io import fits

from spherex.detectors import DETECTOR_IDS
from spherex.errors import UserError
from spherex.fits import write_product
from spherex.image import SPHERExImage

from .frame import simulate_frame
from .headers import make_header
from .settings import Settings

MAXIMUM_EXPOSURES = 1_000_000
"""Exposures that six digits can number."""

_EXPOSURE_FILE = re.compile(r"sim_(?:truth_)?exposure_(\d{6})_array_(\d)\D")


class SurveyError(UserError):
    """Existing files in the output directory conflict with the survey."""


@dataclasses.dataclass(frozen=True)
class ExposureReport:
    """Summary of one simulated exposure.

    Parameters
    ----------
    exposure
        Number of the exposure.
    files
        Number of files that were written.
    size
        Bytes that were written.
    skipped
        Number of files that existed and were kept.
    seconds
        Time taken.
    """

    exposure: int
    files: int
    size: int
    skipped: int
    seconds: float


class SurveyFiles(abc.ABC):
    """Files of a simulated survey, one subclass for each product.

    Parameters
    ----------
    root
        Directory that contains the files.
    """

    existing = "files"
    """Noun in messages about existing files."""

    alternatives = "or another directory"
    """Further remedies in these messages."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @abc.abstractmethod
    def paths(self, exposure: int, detector: int) -> tuple[Path, ...]:
        """Return the files of a detector in an exposure."""

    @abc.abstractmethod
    def check_survey(self, frames: set[tuple[int, int]], overwrite: bool) -> None:
        """Raise `SurveyError` if the directory contains another survey.

        Parameters
        ----------
        frames
            Exposure and detector of each image that is to be written.
        overwrite
            Whether existing files are replaced.
        """

    @abc.abstractmethod
    def prepare(self) -> list[int]:
        """Make the directory, write a description of the survey if there is one, and return its size."""

    @abc.abstractmethod
    def write(self, exposure: int, detector: int) -> list[int]:
        """Simulate a detector in an exposure and write its files.

        Returns
        -------
        sizes : `list` [`int`]
            Bytes of each file; empty if the detector does not see the position of interest.
        """

    def write_calibrations(self, detector: int, overwrite: bool) -> list[int]:
        """Write the files that all exposures of a detector share, and return their sizes."""
        return []

    def is_complete(self, exposure: int, detector: int) -> bool:
        """Return whether all files of a detector in an exposure exist."""
        return all(path.exists() for path in self.paths(exposure, detector))

    def taken(self, exposure: int, detector: int) -> list[str]:
        """Return the names of the existing files of a detector in an exposure."""
        return [path.name for path in self.paths(exposure, detector) if path.exists()]


def write_survey(
    files: SurveyFiles,
    exposures: Sequence[int],
    detectors: Sequence[int],
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> Iterator[ExposureReport]:
    """Simulate exposures and write them, one after the other.

    Every file appears under its name when it is complete. Nothing is written
    before the first report is asked for.

    Parameters
    ----------
    files
        What to simulate, and where to write it.
    exposures
        Numbers of the exposures.
    detectors
        Detector numbers.
    overwrite
        Whether to replace existing files.
    skip_existing
        Whether to skip the detectors whose files all exist.

    Yields
    ------
    report : `ExposureReport`
        One for each exposure.

    Raises
    ------
    SurveyError
        If files exist already, or belong to another survey.
    OSError
        If a file cannot be written.
    """
    if not 0 <= min(exposures) <= max(exposures) < MAXIMUM_EXPOSURES:
        raise SurveyError(f"Exposures are numbered from 0 to {MAXIMUM_EXPOSURES - 1}.")
    frames = [(exposure, detector) for exposure in exposures for detector in detectors]
    files.check_survey(set(frames), overwrite)
    taken = [] if overwrite or skip_existing else [name for frame in frames for name in files.taken(*frame)]
    if taken:
        raise SurveyError(
            f"{files.root} has {len(taken)} of the {files.existing} already, such as {taken[0]}: "
            f"use --skip-existing to complete them, --overwrite to replace them, {files.alternatives}."
        )
    described = files.prepare()
    calibrated: set[int] = set()
    for exposure in exposures:
        begin = time.monotonic()
        sizes: list[int] = []
        skipped = 0
        for detector in detectors:
            if detector not in calibrated:
                sizes += files.write_calibrations(detector, overwrite)
                calibrated.add(detector)
            if skip_existing and files.is_complete(exposure, detector):
                skipped += len(files.paths(exposure, detector))
            else:
                sizes += files.write(exposure, detector)
        if sizes:
            sizes, described = sizes + described, []
        yield ExposureReport(exposure, len(sizes), sum(sizes), skipped, time.monotonic() - begin)


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a name to write to, and rename the file to its final name at the end."""
    # Not a name of a product: an ingest may search for products meanwhile.
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


@dataclasses.dataclass(frozen=True)
class FileNames:
    """Names of the files with raw images, dark current maps and their truth.

    The name of a truth file never contains the name of an image.

    Parameters
    ----------
    directory
        Directory of all the files.
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


class RawFiles(SurveyFiles):
    """Raw images and dark current maps, and the truth about both.

    Parameters
    ----------
    settings
        The survey.
    directory
        Directory of all the files.
    with_sky
        Whether to write the images without dark current and noise too.
    """

    def __init__(self, settings: Settings, directory: Path, with_sky: bool = False) -> None:
        super().__init__(directory)
        self.names = FileNames(directory)
        self._settings = settings
        self._with_sky = with_sky
        self._dark_truths: set[int] = set()

    def paths(self, exposure: int, detector: int) -> tuple[Path, ...]:
        """Return the files of a detector in an exposure."""
        kinds = [self.names.raw, self.names.dark, self.names.sources, *[self.names.sky] * self._with_sky]
        return tuple(kind(exposure, detector) for kind in kinds)

    def is_complete(self, exposure: int, detector: int) -> bool:
        """Return whether all files exist, and the true dark current."""
        return super().is_complete(exposure, detector) and self.names.dark_truth(detector).exists()

    def check_survey(self, frames: set[tuple[int, int]], overwrite: bool) -> None:
        """Compare the settings with the headers of the true dark currents."""
        settings = self._settings
        for detector in DETECTOR_IDS:
            path = self.names.dark_truth(detector)
            if not path.exists():
                continue
            try:
                header = fits.getheader(path, "IMAGE")
                found = header["SIM_SEED"], header["NAXIS1"], header["SIM_STRT"]
            except (OSError, KeyError):
                raise SurveyError(f"{path} is not a truth file of this simulator: move it away.") from None
            if found == (settings.seed, settings.side, settings.start.isoformat()):
                continue
            matches = (_EXPOSURE_FILE.match(path.name) for path in self.root.iterdir())
            others = {(int(match[1]), int(match[2])) for match in matches if match} - frames
            if not overwrite or others:
                remedy = "use another directory" if overwrite else "use another directory or --overwrite"
                raise SurveyError(
                    f"{self.root} contains another survey "
                    f"(--seed {found[0]} --shape {found[1]} --start {found[2]}): {remedy}."
                )

    def prepare(self) -> list[int]:
        """Make the directory."""
        self.root.mkdir(parents=True, exist_ok=True)
        return []

    def write(self, exposure: int, detector: int) -> list[int]:
        """Simulate and write an image, its dark current map and the truth; see `SurveyFiles.write`."""
        frame = simulate_frame(self._settings, exposure, detector)
        sizes = []
        if detector not in self._dark_truths:
            seed, start = self._settings.seed, self._settings.start.isoformat()
            header = make_header("raw_dark_truth", {"DETECTOR": detector, "SIM_SEED": seed, "SIM_STRT": start})
            truth = SPHERExImage(frame.dark_truth, header=header)
            sizes.append(_write_image(truth, self.names.dark_truth(detector)))
            self._dark_truths.add(detector)
        with whole_file(self.names.sources(exposure, detector)) as path:
            frame.sources.write(path, format="ascii.ecsv", overwrite=True)
            sizes.append(path.stat().st_size)
        sizes.append(_write_image(frame.dark, self.names.dark(exposure, detector)))
        sizes.append(_write_image(frame.raw, self.names.raw(exposure, detector)))
        if self._with_sky:
            sizes.append(_write_image(frame.sky, self.names.sky(exposure, detector)))
        return sizes


def _write_image(image: SPHERExImage, target: Path) -> int:
    with whole_file(target) as path:
        write_product(image, path, overwrite=True)
        return path.stat().st_size


def simulate_survey(
    settings: Settings,
    directory: Path,
    exposures: Sequence[int],
    detectors: Sequence[int] = DETECTOR_IDS,
    *,
    with_sky: bool = False,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> Iterator[ExposureReport]:
    """Simulate raw images and dark current maps and write them; see `write_survey`.

    Parameters
    ----------
    settings
        The survey.
    directory
        Directory of all the files; made if need be.
    exposures
        Numbers of the exposures.
    detectors
        Detector numbers.
    with_sky
        Whether to write the images without dark current and noise too.
    overwrite
        Whether to replace existing files.
    skip_existing
        Whether to skip the detectors whose files all exist.
    """
    files = RawFiles(settings, directory, with_sky)
    return write_survey(files, exposures, detectors, overwrite=overwrite, skip_existing=skip_existing)
