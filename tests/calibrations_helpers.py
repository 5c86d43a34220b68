"""Calibrations of the archive in files, and what becomes of them in a repository."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from astropy.io import fits
from lsst.daf.butler import Butler, Timespan

from spherex.calibrations import timespan_between
from spherex.detectors import CALIBRATION_COLLECTION

from .ingest_helpers import Outcome, butler_command

OLD, NEW = "cal-wcs-v4-2025-254", "cal-swcs-v5-2026-191"
DARK = "dark_D2_spx_cal-drk-v4-2025-161.fits"
FRAME = (2040, 2040)
ID = "15a36c9f-e41f-451f-96a6-fede67db772b"


def ingest(repo: Path, *arguments: object) -> Outcome:
    """Give the command."""
    return butler_command("ingest-calibrations", repo, *arguments)


def write_wcs(folder: Path, run: str = OLD, detector: int = 4, in_header: object = None) -> Path:
    """Write a ``spectral_wcs`` whose wavelength is its detector plus the version of its run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"spectral_wcs_D{detector}_spx_{run}.fits"
    wavelength = detector + (0.5 if run == NEW else 0.0)
    cards = {"DETECTOR": detector if in_header is None else in_header}
    return write_maps(path, {"CWAVE": wavelength, "CBAND": wavelength / 40}, cards)


def write_maps(
    path: Path, maps: dict[str, float], cards: dict[str, object] | None = None, shape: tuple[int, ...] = FRAME
) -> Path:
    """Write images that are zero but for their first pixel; the rest is a hole in the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(fits.PrimaryHDU(header=fits.Header(cards or {})).header.tostring().encode())
        for name, value in maps.items():
            header = fits.ImageHDU(np.zeros((1,) * len(shape), "f4"), name=name).header
            for axis, length in enumerate(reversed(shape), start=1):
                header[f"NAXIS{axis}"] = length
            header["BUNIT"] = "electron/s"
            file.write(header.tostring().encode())
            end = file.tell() + -(-4 * math.prod(shape) // 2880) * 2880
            file.write(np.array(value, ">f4").tobytes())
            file.truncate(end)
            file.seek(end)
    return path


def write_others(folder: Path) -> None:
    """Write an image, a template of one detector, and the gains of all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_maps(folder / DARK, {"DARK": 1.0}, {"DETECTOR": "2"})
    table = fits.BinTableHDU.from_columns([fits.Column("LINE", "E", array=[1.083])], name="HE")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(folder / "he_template_D1_spx_cal-he-v1-2026-191.fits")
    (folder / "gain_factors_spx_base-2025-158.yaml").write_text("gain: {1: [2.0, 2.1], 2: [1.9, 2.2]}\n")
    (folder / "README.txt").write_text("nothing")


def wavelength_at(repo: Path, date: str, detector: int = 4) -> float | None:
    """Return the wavelength that the calibration valid on a date has."""
    span = Timespan.fromInstant(timespan_between(date, None).begin)
    with Butler.from_config(str(repo), collections=CALIBRATION_COLLECTION, instrument="SPHEREx") as butler:
        ref = butler.find_dataset("spectral_wcs", detector=detector, timespan=span)
        return None if ref is None else float(butler.get(ref)["CWAVE"].data[0, 0])


def rows_of(repo: Path) -> list[list[str]]:
    """Return detector, begin and end of what is certified."""
    lines = butler_command("list-calibrations", repo).output.splitlines()[2:]
    return [[line.split()[number] for number in (1, 3, 4)] for line in lines]
