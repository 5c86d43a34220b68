"""Level 2 files to measure with."""

from __future__ import annotations

__all__ = ["REAL_CARDS", "level2_cards", "level2_name", "make_level2_files"]

from pathlib import Path

from spherex.archive import Level2Name, ObservationId, ProcessingRun

from .files import Template, place_of, simulate, time_cards, write_files

REAL_CARDS = 237
"""Cards of the IMAGE header of a file of the archive."""

_FIRST_MJD = 60800.0
_CADENCE = 129.0 / 86400
_LENGTH = 115.1175 / 86400
_PER_PERIOD = 1700
"""Exposures of a planning period, half a week."""
_SMALL_SLEWS = 4


def make_level2_files(folder: Path, count: int, per_folder: int, side: int) -> list[Path]:
    """Write Level 2 files with real headers and without pixels, and return their folders.

    Each has the HDUs of a file of Quick Release 2 with the number of header
    cards that those have, and an identity, times and a position on the sky of
    its own. The pixels are holes: they take no room on the disk.

    Parameters
    ----------
    folder
        Where to write; files that are there are left.
    count
        Number of files, whole exposures.
    per_folder
        Number of files in a folder.
    side
        Rows and columns of the image (pixels).

    Returns
    -------
    folders
        The folders; the last one may have less files.
    """
    sample = folder / "sample"
    options = ("--product", "level2", "--release", "qr2", "--detectors", "1", "--no-stars")
    simulate(sample, 1, side, *options)
    (path,) = sample.rglob("level2_*.fits")
    template = Template.of(path, REAL_CARDS)

    def write(part: Path, exposure: int, detector: int) -> None:
        path = part / level2_name(exposure, detector)
        if not path.exists():
            template.write(path, level2_cards(exposure, detector) | place_of(exposure, detector))

    return write_files(folder, count, per_folder, write)


def level2_name(exposure: int, detector: int) -> str:
    """Return the name that the archive would give a file."""
    run = ProcessingRun("l2b", 20, 2025, 240 + exposure // _PER_PERIOD)
    return str(Level2Name(_observation(exposure), detector, run))


def _observation(exposure: int) -> ObservationId:
    period, number = divmod(exposure, _PER_PERIOD)
    large, small = divmod(number, _SMALL_SLEWS)
    return ObservationId(2025, 19 + period // 2, period % 2 + 1, "A", large, small + 1)


def level2_cards(exposure: int, detector: int) -> dict[str, str]:
    """Return the cards of the identity and the times of a file."""
    observation = _observation(exposure)
    begin = _FIRST_MJD + exposure * _CADENCE
    values = {
        "OBSID": f"'{observation}'",
        "EXPIDN": f"{observation.expidn(detector):20d}",
        "DETECTOR": f"{detector:20d}",
        "SPS_ELON": f"{(0.37 * exposure) % 360:.6f}",
    }
    return values | time_cards(begin, begin + _LENGTH)
