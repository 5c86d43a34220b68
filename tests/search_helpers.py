"""Level 2 images with the distortions of real ones and hardly any pixels, and repositories of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from lsst.daf.butler import Butler, CollectionType, DatasetRef, DatasetType, FileDataset, Timespan

from spherex.archive import Level2Name, ObservationId, ProcessingRun
from spherex.detectors import DETECTORS, FRAME_SIDE
from spherex.geometry import WCS_CARDS, frame_corners, polygon_of
from spherex.headers import tai_nanoseconds
from spherex.image import celestial_wcs
from spherex.instrument import SPHEREx

SIDE = FRAME_SIDE
NEW = "l2b-v20-2025-299"
OLD = "l2b_retry-v12-2025-175"
FIRST_MJD = 60800.0
BITS = {"TRANSIENT": 0, "FULLSAMPLE": 12, "SOURCE": 21}

# Those of detector 1 in Quick Release 1.
SIP = {
    "A_ORDER": 3,
    "A_0_0": 0.384454138693,
    "A_0_1": -9.52783951809e-06,
    "A_0_2": -1.42079541115e-06,
    "A_1_0": 0.000401548763981,
    "A_1_1": 4.16955402962e-06,
    "A_1_2": 6.52097107965e-10,
    "A_2_0": -1.61216453969e-06,
    "A_3_0": 5.3982925039e-10,
    "B_ORDER": 3,
    "B_0_0": -1.18610385752,
    "B_0_1": -0.000419956224981,
    "B_0_2": 1.9870054636e-06,
    "B_0_3": 4.32147634214e-10,
    "B_1_0": 5.54021253922e-05,
    "B_1_1": -6.92773287319e-07,
    "B_2_0": 6.67675687975e-06,
    "B_2_1": 6.33672536563e-10,
}


@dataclasses.dataclass(frozen=True)
class Image:
    """One image: which, and where its detector looks."""

    number: int = 0
    detector: int = 1
    ra: float = 30.0
    dec: float = 40.0
    roll: float = 25.0
    run: str = NEW
    survey: str | None = "all_sky"
    origin: tuple[int, int] | None = None
    """First pixel of a cutout of 40 x 30 pixels; None for the whole frame."""

    distortion: float = 1.0
    """How much of the distortions of `SIP` the optics have."""

    obsid: str | None = None
    mjd: float | None = None

    @property
    def observation(self) -> ObservationId:
        if self.obsid is not None:
            return ObservationId.parse(self.obsid)
        return ObservationId(2025, 20 + self.number // 50, 1, "A", self.number, 1)

    @property
    def shape(self) -> tuple[int, int]:
        """Columns and rows of the file."""
        return (SIDE, SIDE) if self.origin is None else (40, 30)

    @property
    def begin(self) -> float:
        return FIRST_MJD + self.number if self.mjd is None else self.mjd

    @property
    def name(self) -> str:
        return str(Level2Name(self.observation, self.detector, ProcessingRun.parse(self.run)))

    def header(self, whole: bool = False) -> fits.Header:
        """Return the header of the image, or of its whole frame."""
        x, y = (0, 0) if whole or self.origin is None else self.origin
        cosine, sine = (0.0017085 * f(np.radians(self.roll)) for f in (np.cos, np.sin))
        header = fits.Header({"EXTNAME": "IMAGE", "BUNIT": "MJy/sr", "DETECTOR": self.detector, "RADESYS": "ICRS"})
        header.update({"WCSAXES": 2, "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "LONPOLE": 180.0})
        header.update({"CUNIT1": "deg", "CUNIT2": "deg", "CRVAL1": self.ra, "CRVAL2": self.dec})
        header.update({"CRPIX1": 1020.5 - x, "CRPIX2": 1020.5 - y, "CDELT1": 1.0, "CDELT2": 1.0})
        header.update({"PC1_1": -cosine, "PC1_2": sine, "PC2_1": sine, "PC2_2": cosine})
        header.update({key: value if key.endswith("ORDER") else value * self.distortion for key, value in SIP.items()})
        header.update({"WCSAXESA": 2, "CTYPE1A": "LINEAR", "CTYPE2A": "LINEAR", "CRVAL1A": 0.0, "CRVAL2A": 0.0})
        header.update({"CRPIX1A": 1.0 - x, "CRPIX2A": 1.0 - y, "CDELT1A": 1.0, "CDELT2A": 1.0})
        return header

    @property
    def wcs(self) -> WCS:
        """Coordinates of the whole frame."""
        wcs = celestial_wcs(self.header(whole=True))
        assert wcs is not None
        return wcs

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Return right ascension and declination of a pixel of the whole frame."""
        ra, dec = self.wcs.pixel_to_world_values(x, y)
        return float(ra), float(dec)

    def pixel(self, ra: float, dec: float) -> tuple[float, float]:
        """Return the pixel of the whole frame at a position."""
        x, y = self.wcs.world_to_pixel_values(ra, dec)
        return float(x), float(y)

    def write(self, folder: Path, flags: int | None = None) -> Path:
        """Write the file; its pixels, and flags but for the first row, are holes."""
        folder.mkdir(parents=True, exist_ok=True)
        columns, rows = self.shape
        layout = {"XTENSION": "IMAGE", "BITPIX": -32, "NAXIS": 2, "NAXIS1": columns, "NAXIS2": rows}
        layout |= {"PCOUNT": 0, "GCOUNT": 1}
        path = folder / self.name
        with open(path, "wb") as stream:
            stream.write(fits.PrimaryHDU().header.tostring().encode())
            _write_hdu(stream, fits.Header(layout | dict(self.header())), rows * columns * 4, b"")
            if flags is not None:
                header = fits.Header(layout | {"BITPIX": 32, "EXTNAME": "FLAGS"})
                for name, bit in BITS.items():
                    header[f"HIERARCH MP_{name}"] = bit
                data = np.full(columns, flags, ">i4").tobytes()
                _write_hdu(stream, header, rows * columns * 4, data)
        return path


def _write_hdu(stream: Any, header: fits.Header, size: int, begin: bytes) -> None:
    stream.write(header.tostring().encode())
    start = stream.tell()
    stream.write(begin)
    end = start + -(-size // 2880) * 2880
    stream.seek(end)
    os.truncate(stream.fileno(), end)


def wavelength_table(detector: int) -> fits.BinTableHDU:
    """Return a table WCS-WAVE in which wavelengths fall with y, as they do."""
    (description,) = (one for one in DETECTORS if one.id == detector)
    points = np.rint(np.linspace(1, SIDE, 7))
    slope = (description.lmin - description.lmax) / (SIDE - 1)
    wavelengths = np.broadcast_to((description.lmax + slope * (points - 1))[:, np.newaxis], (7, 7))
    values = np.stack([wavelengths, wavelengths / description.r], axis=-1)[np.newaxis]
    columns = [
        fits.Column("X", "7J", array=points[np.newaxis]),
        fits.Column("Y", "7J", array=points[np.newaxis]),
        fits.Column("VALUES", "98E", dim="(2,7,7)", array=values),
    ]
    return fits.BinTableHDU.from_columns(columns, name="WCS-WAVE")


def true_wavelength(detector: int, y: float) -> float:
    """Return what the table says at a row."""
    (description,) = (one for one in DETECTORS if one.id == detector)
    return description.lmax + (description.lmin - description.lmax) * y / (SIDE - 1)


def region_of(header: fits.Header) -> Any:
    """Return the region of a whole frame."""
    corners = frame_corners({key: header[key] for key in WCS_CARDS if key in header}, (SIDE, SIDE))
    assert corners is not None
    return polygon_of(corners)


def prepare(butler: Butler) -> None:
    """Register instrument, detectors and dataset types."""
    SPHEREx().register(butler.registry)
    universe = butler.dimensions
    for name, dimensions, storage_class, is_calibration in (
        ("level2", ("instrument", "exposure", "detector"), "SPHERExImage", False),
        ("level2_wavelength", ("instrument", "detector"), "AstropyHDUList", False),
        ("spectral_wcs", ("instrument", "detector"), "AstropyHDUList", True),
    ):
        butler.registry.registerDatasetType(
            DatasetType(name, dimensions, storage_class, universe=universe, isCalibration=is_calibration)
        )


def add_images(
    repo: Path, images: Iterable[Image], folder: Path, *, wavelengths: bool = True, flags: int | None = None
) -> None:
    """Ingest images, with the wavelength table of each run and detector."""
    with Butler.from_config(str(repo), writeable=True) as butler:
        prepare(butler)
        for image in images:
            exposure = image.observation.exposure
            add_exposure(butler, image.observation, image.begin, image.survey)
            region = region_of(image.header(whole=True))
            add_dataset(butler, image.write(folder, flags), exposure, image.detector, region, image.run)
            if wavelengths:
                add_table(butler, image.run, image.detector, wavelength_table(image.detector))
        redefine_chain(butler)


def add_exposure(butler: Butler, observation: ObservationId, begin: float, survey: str | None = "all_sky") -> None:
    """Insert the record of an exposure, unless another detector has made it."""
    data_id = {"instrument": "SPHEREx", "exposure": observation.exposure}
    if butler.query_dimension_records("exposure", data_id=data_id, explain=False):
        return
    record = {
        "instrument": "SPHEREx",
        "id": observation.exposure,
        "name": str(observation),
        "group_name": observation.planning_period,
        "exposure_time": 113.58,
        "survey": survey,
        "target_name": "27376",
        "timespan": Timespan.model_construct(nsec=tuple(tai_nanoseconds([begin, begin + 115.1175 / 86400]).tolist())),
    }
    butler.registry.syncDimensionData("exposure", record)


def add_dataset(butler: Butler, path: Path, exposure: int, detector: int, region: Any, run: str) -> None:
    """Insert the record of a region, and ingest a file."""
    data_id = {"instrument": "SPHEREx", "exposure": exposure, "detector": detector}
    butler.registry.syncDimensionData("exposure_detector_region", data_id | {"region": region})
    butler.collections.register(f"SPHEREx/level2/{run}")
    ref = DatasetRef(
        butler.get_dataset_type("level2"), butler.registry.expandDataId(data_id), run=f"SPHEREx/level2/{run}"
    )
    butler.ingest(FileDataset(str(path), [ref]), transfer="direct")


def add_table(butler: Butler, run: str, detector: int, table: fits.BinTableHDU) -> None:
    """Put the wavelength table of a run and detector, if it is not there."""
    data_id = {"instrument": "SPHEREx", "detector": detector}
    if not butler.exists("level2_wavelength", data_id, collections=f"SPHEREx/level2/{run}"):
        hdus = fits.HDUList([fits.PrimaryHDU(), table])
        butler.put(hdus, "level2_wavelength", data_id, run=f"SPHEREx/level2/{run}")


def redefine_chain(butler: Butler) -> None:
    """Chain all runs, newest processing first."""
    runs = list(butler.collections.query("SPHEREx/level2/*"))
    runs.sort(key=lambda run: ProcessingRun.parse(run.split("/")[-1]).age_key, reverse=True)
    butler.collections.register("SPHEREx/level2", CollectionType.CHAINED)
    butler.collections.redefine_chain("SPHEREx/level2", runs)
