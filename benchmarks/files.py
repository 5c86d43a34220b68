"""Files and repositories to measure with."""

from __future__ import annotations

__all__ = ["make_raw_files", "make_repository", "simulate"]

import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from lsst.daf.butler import Butler, Config

from spherex.fits.hdus import BLOCK, HDUInfo, scan_hdus
from spherex.fits.sources import open_source

from .measure import run_process

DETECTORS = 6
_CARD = 80
_REAL_CARDS = 200
_FIRST_MJD = 61367.0
_CADENCE = 129.0 / 86400
_LENGTH = 115.1175 / 86400


def simulate(folder: Path, exposures: int, side: int, *options: str) -> None:
    """Write simulated exposures; what is there is left."""
    module = "from spherex.simulation.command import simulate; simulate()"
    words = ["--exposures", str(exposures), "--shape", str(side), "--skip-existing", "--quiet", *options]
    run_process([sys.executable, "-c", module, folder, *words])


def make_repository(
    root: Path, dimensions: str | Path = "resource://spherex/configs/dimensions.yaml"
) -> Path:
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
    with open_source(sample / "sim_exposure_000000_array_1.fits") as source:
        hdus = scan_hdus(source)
        tables = {
            hdu.index: source.read_at(hdu.data_offset, hdu.data_size) for hdu in hdus if hdu.kind == "table"
        }
    headers = [_padded(hdu.header_bytes, _REAL_CARDS if hdu.name == "IMAGE" else 0) for hdu in hdus]
    folders = []
    for number, (exposure, detector) in enumerate(_identities(count)):
        part = folder / f"{number // per_folder:03d}"
        if number % per_folder == 0:
            part.mkdir(exist_ok=True)
            folders.append(part)
        path = part / f"sim_exposure_{exposure:06d}_array_{detector}.fits"
        if not path.exists():
            _write(path, hdus, [headers[0], _patched(headers[1], exposure, detector), *headers[2:]], tables)
    return folders


def _identities(count: int) -> Iterator[tuple[int, int]]:
    for number in range(count):
        yield number // DETECTORS, number % DETECTORS + 1


def _write(path: Path, hdus: list[HDUInfo], headers: list[bytes], tables: dict[int, bytes]) -> None:
    with path.open("wb") as stream:
        place = 0
        for hdu, header in zip(hdus, headers, strict=True):
            stream.seek(place)
            stream.write(header + tables.get(hdu.index, b""))
            place += len(header) + -(-hdu.data_size // BLOCK) * BLOCK
        stream.truncate(place)


def _padded(cards: bytes, count: int) -> bytes:
    """Header with END, filled up to a number of cards and to whole blocks."""
    text = b"HISTORY a step of the pipeline, SSDC-MS-000 v1.0".ljust(_CARD)
    cards += text * (count - 1 - len(cards) // _CARD) + b"END".ljust(_CARD)
    return cards + b" " * (-len(cards) % BLOCK)


def _patched(header: bytes, exposure: int, detector: int) -> bytes:
    """Header with the identity, times and place of a file."""
    rng = random.Random(exposure)
    begin = _FIRST_MJD + exposure * _CADENCE
    values: dict[str, str] = {
        "EXPOSURE": f"{exposure:20d}",
        "DETECTOR": f"{detector:20d}",
        "OBSID": f"'sim_{exposure:06d}'",
        "RA_BORE": f"{rng.uniform(0, 360):20.9f}",
        "DEC_BORE": f"{rng.uniform(-90, 90):20.9f}",
        "MJD-BEG": f"{begin:20.9f}",
        "MJD-END": f"{begin + _LENGTH:20.9f}",
    }
    place = random.Random(f"{exposure} {detector}")
    values["CRVAL1"] = f"{place.uniform(0, 360):20.9f}"
    declination = math.degrees(math.asin(place.uniform(-1, 1)))
    values["CRVAL2"] = values["LATPOLE"] = f"{declination:20.9f}"
    patched = bytearray(header)
    for keyword, value in values.items():
        at = header.index(f"{keyword:8}= ".encode())
        patched[at + 10 : at + _CARD] = f"{value} / changed".ljust(_CARD - 10).encode()
    return bytes(patched)
