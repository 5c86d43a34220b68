"""Small files of the archive's form, and commands that ingest them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from lsst.daf.butler import Butler

from spherex.archive import Level2Name, ObservationId, ProcessingRun

from .ingest_helpers import BLOCK, Outcome, butler_command, header_bytes

SIDE = 2040
RUN = "l2b-v20-2025-299"
OLDER, RETRY, NEWER = "l2b-v19-2025-240", "l2b_retry-v20-2025-299", "l2b-v21-2025-354"
FIRST_MJD = 60971.0
PERIOD = "2025W43_1A"
FIRST_EXPOSURE = 20254310100001
"""Exposure id of observation 0."""

ORIGIN = (700, 1400)
"""Where in the frame cutouts begin, along the FITS axes."""


def obsid_of(number: int = 0) -> str:
    """Return the OBSID of one of our observations."""
    return f"{PERIOD}_{number // 4:04d}_{number % 4 + 1}"


def exposure_of(number: int = 0) -> int:
    """Return its exposure id."""
    return ObservationId.parse(obsid_of(number)).exposure


def name_of(number: int = 0, detector: int = 1, run: str = RUN) -> str:
    """Return the archive's name of a file."""
    return str(Level2Name(ObservationId.parse(obsid_of(number)), detector, ProcessingRun.parse(run)))


def cards_of(number: int, detector: int, origin: tuple[int, int]) -> dict[str, Any]:
    """Return the cards of the IMAGE header that matter to an ingest."""
    # Detectors of one exposure differ by a millisecond.
    begin = FIRST_MJD + 0.0015 * number + (detector % 2) * 1.2e-8
    observation = ObservationId.parse(obsid_of(number))
    return {
        "BUNIT": "MJy / sr",
        "DETECTOR": detector,
        "OBSID": str(observation),
        "EXPIDN": observation.expidn(detector),
        "SPS_TARGET": 87514,
        "SPS_FLAGS": "all_sky",
        "SPS_ELON": 22.5,
        "SPS_ELAT": 33.441208,
        "SPS_EPA": 180.0,
        "RADESYS": "ICRS",
        "L2 N_SOURCE": 12,
        "WCSAXES": 2,
        "CTYPE1": "RA---TAN-SIP",
        "CTYPE2": "DEC--TAN-SIP",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRPIX1": 1020.5 - origin[0],
        "CRPIX2": 1020.5 - origin[1],
        "CRVAL1": (30.0 + 4.0 * number + 0.5 * detector) % 360.0,
        "CRVAL2": 40.0,
        "CDELT1": 1.0,
        "CDELT2": 1.0,
        "PC1_1": -0.00159,
        "PC1_2": -0.00056,
        "PC2_1": -0.00062,
        "PC2_2": 0.00162,
        "LONPOLE": 180.0,
        "A_ORDER": 2,
        "B_ORDER": 2,
        "A_0_0": 0.4,
        "A_2_0": -1.6e-6,
        "B_0_2": 2e-6,
        "WCSAXESA": 2,
        "CRPIX1A": 1.0 - origin[0],
        "CRPIX2A": 1.0 - origin[1],
        "CDELT1A": 1.0,
        "CDELT2A": 1.0,
        "CTYPE1A": "LINEAR",
        "CTYPE2A": "LINEAR",
        "CRVAL1A": 0.0,
        "CRVAL2A": 0.0,
        "TIMESYS": "UTC",
        "MJD-BEG": round(begin, 9),
        "MJD-END": round(begin + 0.0013323, 9),
        "XPOSURE": 113.5826,
    }


def file_bytes(
    cards: dict[str, Any],
    shape: tuple[int, int] = (6, 6),
    planes: Sequence[str] = ("FLAGS", "VARIANCE"),
    grid: tuple[int, int] | None = (1, SIDE),
    seed: int = 0,
) -> bytes:
    """Return a product; ``grid`` is the range of its wavelength table, which None leaves out."""
    rng = np.random.default_rng(seed)
    parts = [header_bytes({"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True, "VERSION": "6.5.4"})]
    for name in ("IMAGE", *planes):
        bitpix = 32 if name == "FLAGS" else -32
        layout = {"XTENSION": "IMAGE", "BITPIX": bitpix, "NAXIS": 2, "NAXIS1": shape[0], "NAXIS2": shape[1]}
        layout |= {"PCOUNT": 0, "GCOUNT": 1, "EXTNAME": name}
        data = rng.integers(0, 100, shape).astype(">i4" if name == "FLAGS" else ">f4").tobytes()
        parts += [header_bytes(layout | (cards if name == "IMAGE" else {})), _filled(data)]
    if grid is not None:
        parts.append(_wavelength_table(grid))
    return b"".join(parts)


def _filled(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\0")


def _wavelength_table(grid: tuple[int, int]) -> bytes:
    values = np.linspace(0.7, 1.1, 8, dtype=np.float32).reshape(1, 2, 2, 2)
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("X", "2J", array=np.array([grid])),
            fits.Column("Y", "2J", array=np.array([grid])),
            fits.Column("VALUES", "8E", dim="(2,2,2)", array=values),
        ],
        name="WCS-WAVE",
    )
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(stream)
    return stream.getvalue()[BLOCK:]


def write_level2(
    directory: Path,
    number: int = 0,
    detector: int = 1,
    *,
    run: str = RUN,
    name: str | None = None,
    origin: tuple[int, int] = ORIGIN,
    change: dict[str, Any] | None = None,
    **parts: Any,
) -> Path:
    """Write a file; ``change`` sets cards, or removes those that are None."""
    cards = cards_of(number, detector, origin) | (change or {})
    path = directory / (name or name_of(number, detector, run))
    directory.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file_bytes({k: v for k, v in cards.items() if v is not None}, **parts))
    return path


def write_many(directory: Path, exposures: int, detectors: Sequence[int] = range(1, 7), **parts: Any) -> list[Path]:
    """Write all files of some exposures."""
    return [write_level2(directory, e, d, seed=e, **parts) for e in range(exposures) for d in detectors]


def ingest_level2(repo: Path, *args: object) -> Outcome:
    """Give ``butler ingest-level2 REPO ARGS``."""
    return butler_command("ingest-level2", repo, *args)


def level2_datasets(repo: Path, name: str = "level2", run: str = RUN) -> dict[tuple[int, int], Any]:
    """Return (number of the observation, detector) and address of the datasets of a run."""
    numbers = {exposure_of(number): number for number in range(100)}
    with Butler.from_config(str(repo)) as butler:
        collection = f"SPHEREx/level2/{run}"
        if not list(butler.registry.queryDatasetTypes(name)) or collection not in butler.collections.query("*"):
            return {}
        refs = butler.query_datasets(name, collections=collection, explain=False, limit=None)
        return {(numbers[ref.dataId["exposure"]], ref.dataId["detector"]): butler.getURI(ref) for ref in refs}


def level2_record(repo: Path, number: int = 0) -> Any:
    """Return the record of an exposure."""
    with Butler.from_config(str(repo)) as butler:
        (record,) = butler.query_dimension_records("exposure", instrument="SPHEREx", exposure=exposure_of(number))
        return record


def level2_region(repo: Path, number: int = 0, detector: int = 1) -> Any:
    """Return the region of an exposure and detector."""
    with Butler.from_config(str(repo)) as butler:
        (record,) = butler.query_dimension_records(
            "exposure_detector_region", instrument="SPHEREx", exposure=exposure_of(number), detector=detector
        )
        return record.region


def chain_of(repo: Path) -> list[str]:
    """Return the children of the chain of runs."""
    with Butler.from_config(str(repo)) as butler:
        return list(butler.collections.get_info("SPHEREx/level2").children)
