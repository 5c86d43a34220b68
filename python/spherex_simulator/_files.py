"""Files of the simulation: their names, and writing them in one piece."""

from __future__ import annotations

__all__ = ["MAXIMUM_EXPOSURES", "FileNames", "whole_file", "write_dark_truth", "write_frame"]

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits

from spherex.fits import write_product
from spherex.image import SPHERExImage

from ._frame import Frame
from ._settings import Settings

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
    header = fits.Header()
    header["BUNIT"] = "electron/s"
    header["DETECTOR"] = detector
    header["SIM_SEED"] = (settings.seed, "Seed of the simulation")
    header["SIM_STRT"] = (settings.start.isoformat(), "Begin of exposure 0, UTC")
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
