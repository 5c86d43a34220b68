"""A repository whose Level 2 images look at one field again and again.

There are records and addresses only: all images have the address of one file.
"""

from __future__ import annotations

__all__ = ["FIELD", "make_field"]

import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from lsst.daf.butler import Butler, CollectionType, DataCoordinate, DatasetRef, DatasetType, FileDataset, Timespan

from spherex.archive import ObservationId
from spherex.detectors import DETECTORS, DICHROIC_PAIRS, PIXEL_SCALE
from spherex.formatters import SPHERExImageFormatter
from spherex.geometry import frame_corners, polygon_of
from spherex.headers import tai_nanoseconds
from spherex.instrument import SPHEREx
from spherex.repository import refresh_statistics

from .files import make_repository

FIELD = (270.0, 66.56)
"""Position that the images look at: the north ecliptic pole (deg)."""

_INSTRUMENT = SPHEREx.getName()
_CHAIN = "SPHEREx/level2"
_RUNS = ("l2b-v22-2026-100", "l2b-v21-2026-010", "l2b-v20-2025-299")
_SIDE = 2040
_PIXEL = PIXEL_SCALE / 3600
_NEXT = 3.6
"""Distance of the centres of neighbouring detectors (deg)."""

_FIRST_MJD = 60800.0
_CADENCE = 129.0 / 86400
_LENGTH = 115.1175 / 86400
_BATCH = 30_000


def make_field(root: Path, images: int, matches: int) -> Path:
    """Make the repository.

    Parameters
    ----------
    root
        Where to make it; one that is there is left as it is.
    images
        Detector images, six for each exposure.
    matches
        How many of them contain `FIELD`, two for each exposure at most.

    Returns
    -------
    root
        The same path. A tenth of the images is there in an older run, too.
    """
    if (root / "butler.yaml").exists():
        return root
    make_repository(root)
    file = root / "level2.fits"
    file.touch()
    kind = DatasetType("level2", ("instrument", "exposure", "detector"), "SPHERExImage", universe=_universe(root))
    with Butler.from_config(str(root), writeable=True) as butler:
        _register(butler, kind)
        _put_wavelengths(butler)
        exposures = _exposures(images // len(DETECTORS), matches // 2)
        for batch in _batched(exposures, max(1, _BATCH // len(DETECTORS))):
            refs: dict[str, list[DatasetRef]] = {run: [] for run in _RUNS}
            with butler.transaction():
                butler.registry.insertDimensionData("exposure", *(exposure for exposure, _ in batch))
                regions = [region for _, six in batch for region in six]
                butler.registry.insertDimensionData("exposure_detector_region", *regions)
                for region in regions:
                    for run in _runs_of(region["exposure"]):
                        values = (_INSTRUMENT, region["detector"], region["exposure"])
                        data_id = DataCoordinate.from_required_values(kind.dimensions, values)
                        refs[run].append(DatasetRef(kind, data_id, f"{_CHAIN}/{run}"))
                for some in filter(None, refs.values()):
                    data = FileDataset(str(file), some, formatter=SPHERExImageFormatter)
                    butler.ingest(data, transfer="direct", record_validation_info=False)
    refresh_statistics(str(root))
    return root


def _batched(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def _universe(root: Path) -> Any:
    with Butler.from_config(str(root)) as butler:
        return butler.dimensions


def _register(butler: Butler, kind: DatasetType) -> None:
    SPHEREx().register(butler.registry)
    butler.registry.registerDatasetType(kind)
    for run in _RUNS:
        butler.collections.register(f"{_CHAIN}/{run}")
    butler.collections.register(_CHAIN, CollectionType.CHAINED)
    butler.collections.redefine_chain(_CHAIN, [f"{_CHAIN}/{run}" for run in _RUNS])


def _put_wavelengths(butler: Butler) -> None:
    """Put a wavelength table of the size of real ones for each run and detector."""
    kind = DatasetType("level2_wavelength", ("instrument", "detector"), "AstropyHDUList", universe=butler.dimensions)
    butler.registry.registerDatasetType(kind)
    points = np.linspace(1, _SIDE, 11)
    for run, detector in itertools.product(_RUNS, DETECTORS):
        wavelengths = np.broadcast_to(np.linspace(detector.lmax, detector.lmin, 11)[:, np.newaxis], (11, 11))
        values = np.stack([wavelengths, wavelengths / detector.r], axis=-1)
        table = fits.BinTableHDU.from_columns(
            [
                fits.Column("X", "11J", array=points[np.newaxis]),
                fits.Column("Y", "11J", array=points[np.newaxis]),
                fits.Column("VALUES", "242E", dim="(2,11,11)", array=values[np.newaxis]),
            ],
            name="WCS-WAVE",
        )
        hdus = fits.HDUList([fits.PrimaryHDU(), table])
        butler.put(hdus, kind.name, instrument=_INSTRUMENT, detector=detector.id, run=f"{_CHAIN}/{run}")


def _runs_of(exposure: int) -> tuple[str, ...]:
    """Return the runs that have the images of an exposure."""
    number = exposure // 10 % 10
    newest = min(number // 4, 1)
    return (_RUNS[newest], _RUNS[2]) if number == 0 else (_RUNS[newest],)


def _exposures(count: int, at_field: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return records of exposures, each with those of its six regions."""
    rng = random.Random(1)
    for number in range(count):
        week, large = number // 10_000 + 1, number % 10_000
        observation = ObservationId(2025 + week // 52, week % 52 + 1, 1, "A", large, 1)
        roll = rng.uniform(0, 360)
        pair = number % len(DICHROIC_PAIRS)
        if number < at_field:
            ra, dec = FIELD
            aim = (rng.uniform(-1.6, 1.6), rng.uniform(-1.6, 1.6))
        else:
            ra, dec = rng.uniform(0, 360), math.degrees(math.asin(rng.uniform(-0.9, 0.7)))
            aim = (0.0, 0.0)
        begin = _FIRST_MJD + number * _CADENCE
        key = {"instrument": _INSTRUMENT, "exposure": observation.exposure}
        exposure = {
            "instrument": _INSTRUMENT,
            "id": observation.exposure,
            "name": str(observation),
            "group_name": observation.planning_period,
            "exposure_time": 113.58,
            "ra_boresight": ra,
            "dec_boresight": dec,
            "roll": roll,
            "survey": "deep_north" if number < at_field else "all_sky",
            "timespan": Timespan.model_construct(nsec=tuple(tai_nanoseconds([begin, begin + _LENGTH]).tolist())),
        }
        regions = []
        for detector in DETECTORS:
            place = next(i for i, two in enumerate(DICHROIC_PAIRS) if detector.id in two)
            offset = aim[0] + (place - pair) * _NEXT
            corners = frame_corners(_cards(ra, dec, roll, offset, aim[1]), (_SIDE, _SIDE))
            regions.append(key | {"detector": detector.id, "region": polygon_of(corners)})
        yield exposure, regions


def _cards(ra: float, dec: float, roll: float, x: float, y: float) -> dict[str, Any]:
    """Return the WCS of a frame whose centre is x and y degrees from a position."""
    cosine, sine = math.cos(math.radians(roll)) * _PIXEL, math.sin(math.radians(roll)) * _PIXEL
    return {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": ra,
        "CRVAL2": dec,
        "CRPIX1": (_SIDE + 1) / 2 - x / _PIXEL,
        "CRPIX2": (_SIDE + 1) / 2 - y / _PIXEL,
        "CD1_1": -cosine,
        "CD1_2": sine,
        "CD2_1": sine,
        "CD2_2": cosine,
    }
