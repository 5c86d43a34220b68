"""Files and repositories to measure with."""

from __future__ import annotations

__all__ = [
    "DETECTORS",
    "Template",
    "make_raw_files",
    "make_repository",
    "pad",
    "place_of",
    "put_values",
    "simulate",
    "time_cards",
    "write_files",
]

import dataclasses
import math
import os
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from astropy.time import Time
from lsst.daf.butler import Butler, Config

from spherex.fits import HDUInfo, open_source, scan_hdus
from spherex.fits.hdus import BLOCK

from .measure import run_process

DETECTORS = 6
_CARD = 80
_REAL_CARDS = 200
_FIRST_MJD = 61367.0
_CADENCE = 129.0 / 86400
_LENGTH = 115.1175 / 86400


def simulate(folder: Path, exposures: int, side: int, *options: str) -> None:
    """Write simulated exposures; what is there is left."""
    module = "from spherex_simulator.command import simulate; simulate()"
    words = ["--exposures", str(exposures), "--shape", str(side), "--skip-existing", "--quiet", *options]
    run_process([sys.executable, "-c", module, folder, *words])


def make_repository(root: Path, dimensions: str | Path = "resource://spherex/configs/dimensions.yaml") -> Path:
    """Make an empty repository of our configuration."""
    seed = Config("resource://spherex/configs/butler.yaml")
    Butler.makeRepo(str(root), config=seed, dimensionConfig=str(dimensions), forceConfigRoot=False)
    return root


def make_raw_files(folder: Path, count: int, per_folder: int, side: int) -> list[Path]:
    """Write raw files with real headers and without pixels, and return their folders.

    Each has the HDUs of a simulated raw image, the number of header cards of a
    Level 2 file of the archive, and an identity, times and a position on the
    sky of its own. The pixels are holes: they take no room on the disk.

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
    simulate(sample, 1, side, "--detectors", "1")
    template = Template.of(sample / "sim_exposure_000000_array_1.fits", _REAL_CARDS)

    def write(part: Path, exposure: int, detector: int) -> None:
        path = part / f"sim_exposure_{exposure:06d}_array_{detector}.fits"
        template.write(path, _values(exposure, detector))

    return write_files(folder, count, per_folder, write)


def write_files(folder: Path, count: int, per_folder: int, write: Callable[[Path, int, int], None]) -> list[Path]:
    """Write files of whole exposures into numbered folders, and return those.

    Parameters
    ----------
    folder
        Where to write.
    count
        Number of files.
    per_folder
        Number of files in a folder.
    write
        Writes into a folder the file of an exposure and detector, unless it
        is there.
    """
    folders = []
    for number in range(count):
        part = folder / f"{number // per_folder:03d}"
        if number % per_folder == 0:
            part.mkdir(exist_ok=True)
            folders.append(part)
        write(part, number // DETECTORS, number % DETECTORS + 1)
    return folders


@dataclasses.dataclass(frozen=True)
class Template:
    """Headers and some data of a file, to make others of its form.

    Parameters
    ----------
    hdus
        Its HDUs.
    headers
        Header of each, with END and whole blocks.
    data
        For each HDU with data that are kept, where in its data they begin, and they.
    """

    hdus: list[HDUInfo]
    headers: list[bytes]
    data: dict[int, tuple[int, bytes]]

    @classmethod
    def of(cls, path: Path, cards: int, rows: range = range(0)) -> Template:
        """Read a file, and fill its IMAGE header up to a number of cards.

        Parameters
        ----------
        path
            The file.
        cards
            Number of cards that its IMAGE header gets, if it has less.
        rows
            Rows of its pixels to keep. With them the PSFs are kept, too;
            tables always are.
        """
        with open_source(path) as source:
            hdus = scan_hdus(source)
            data = {}
            for hdu in hdus:
                begin, end = _kept(hdu, rows)
                if end > begin:
                    data[hdu.index] = begin, source.read_at(hdu.data_offset + begin, end - begin)
        headers = [pad(hdu.header_bytes, cards if hdu.name == "IMAGE" else 0) for hdu in hdus]
        return cls(hdus, headers, data)

    def write(self, path: Path, values: Mapping[str, str]) -> None:
        """Write a file with holes in the place of what is not kept, unless it is there.

        Parameters
        ----------
        path
            The file.
        values
            Values of cards of the IMAGE header, as they are written.
        """
        if path.exists():
            return
        with path.open("wb") as stream:
            place = 0
            for hdu, header in zip(self.hdus, self.headers, strict=True):
                stream.seek(place)
                stream.write(put_values(header, values) if hdu.name == "IMAGE" else header)
                begin, data = self.data.get(hdu.index, (0, b""))
                stream.seek(begin, os.SEEK_CUR)
                stream.write(data)
                place += len(header) + -(-hdu.data_size // BLOCK) * BLOCK
            stream.truncate(place)


def _kept(hdu: HDUInfo, rows: range) -> tuple[int, int]:
    """Return begin and end of the data of an HDU that are kept (bytes)."""
    if hdu.kind == "table" or (rows and len(hdu.shape) > 2):
        return 0, hdu.data_size
    if hdu.kind != "image" or not hdu.shape:
        return 0, 0
    width = hdu.data_size // hdu.shape[0]
    return rows.start * width, rows.stop * width


def pad(cards: bytes, count: int) -> bytes:
    """Return a header with END, filled up to a number of cards and to whole blocks."""
    text = b"HISTORY a step of the pipeline, SSDC-MS-000 v1.0".ljust(_CARD)
    cards += text * (count - 1 - len(cards) // _CARD) + b"END".ljust(_CARD)
    return cards + b" " * (-len(cards) % BLOCK)


def put_values(header: bytes, values: Mapping[str, str]) -> bytes:
    """Return a header with other values of cards."""
    patched = bytearray(header)
    for keyword, value in values.items():
        at = header.index(f"{keyword:8}= ".encode())
        patched[at + 10 : at + _CARD] = f"{value} / changed".ljust(_CARD - 10).encode()
    return bytes(patched)


def place_of(exposure: int, detector: int) -> dict[str, str]:
    """Return the cards of a position on the sky, anywhere."""
    place = random.Random(f"{exposure} {detector}")
    ra, dec = place.uniform(0, 360), math.degrees(math.asin(place.uniform(-1, 1)))
    return {"CRVAL1": f"{ra:20.9f}", "CRVAL2": f"{dec:20.9f}", "LATPOLE": f"{dec:20.9f}"}


def time_cards(begin: float, end: float) -> dict[str, str]:
    """Return the cards of the begin, middle and end of an exposure.

    Parameters
    ----------
    begin, end
        Modified Julian dates (d).
    """
    cards = {}
    for name, mjd in (("BEG", begin), ("AVG", (begin + end) / 2), ("END", end)):
        cards[f"MJD-{name}"] = f"{mjd:20.9f}"
        cards[f"DATE-{name}"] = f"'{Time(mjd, format='mjd').isot}'"
    return cards


def _values(exposure: int, detector: int) -> dict[str, str]:
    """Identity, times and place of a raw file."""
    rng = random.Random(exposure)
    begin = _FIRST_MJD + exposure * _CADENCE
    return {
        "EXPOSURE": f"{exposure:20d}",
        "DETECTOR": f"{detector:20d}",
        "OBSID": f"'sim_{exposure:06d}'",
        "RA_BORE": f"{rng.uniform(0, 360):20.9f}",
        "DEC_BORE": f"{rng.uniform(-90, 90):20.9f}",
        **time_cards(begin, begin + _LENGTH),
        **place_of(exposure, detector),
    }
