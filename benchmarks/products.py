"""A full-size product in a repository."""

from __future__ import annotations

__all__ = ["full_image", "new_repository", "reference"]

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits
from lsst.daf.butler import Butler, DatasetRef, DatasetType

from spherex.fits import read_product
from spherex.image import Plane, SPHERExImage
from spherex.instrument import SimulatorInstrument

from .files import make_repository, simulate
from .scale import Scale

_REAL_CARDS = 200
_ZONE_CARDS = ("XCTR", "YCTR", "XWID", "YWID")


def full_image(scratch: Path, scale: Scale) -> SPHERExImage:
    """Return an image with all planes of a Level 2 file, its numbers in memory and native.

    Sizes of planes and headers are those of the archive's files.
    """
    simulate(scratch / "simulated", 1, scale.side, "--detectors", "1")
    image = read_product(scratch / "simulated" / "sim_exposure_000000_array_1.fits")
    for _ in range(_REAL_CARDS - len(image.header)):
        image.header.add_history("a step of the pipeline, SSDC-MS-000 v1.0")
    rng = np.random.default_rng(0)
    zodi = fits.ImageHDU(rng.random(image.shape, np.float32), name="ZODI")
    psf = fits.ImageHDU(rng.random(scale.psf_shape, np.float32), name="PSF")
    for zone in range(1, scale.psf_shape[0] + 1):
        for card in _ZONE_CARDS:
            psf.header[f"{card}_{zone}"] = (float(zone), "[pixel] place of a zone")
    image.planes = {"ZODI": Plane(zodi), "PSF": Plane(psf), "WCS-WAVE": Plane(image.planes["WCS-WAVE"].hdu)}
    return image


@contextlib.contextmanager
def new_repository(root: Path) -> Iterator[Butler]:
    """Make a repository with one exposure and open it."""
    with Butler.from_config(str(make_repository(root)), writeable=True, run="run") as butler:
        SimulatorInstrument().register(butler.registry)
        place = {"instrument": "simulator", "exposure": 0, "detector": 1}
        butler.registry.insertDimensionData(
            "exposure", {"instrument": "simulator", "id": 0, "name": "sim_000000", "group_name": "20261123"}
        )
        butler.registry.insertDimensionData("exposure_detector_region", place)
        yield butler


def reference(butler: Butler, name: str, storage_class: str = "SPHERExImage") -> DatasetRef:
    """Return a new dataset of that exposure, with its dataset type registered."""
    dataset_type = DatasetType(name, ("instrument", "exposure", "detector"), storage_class, universe=butler.dimensions)
    butler.registry.registerDatasetType(dataset_type)
    data_id = butler.registry.expandDataId(instrument="simulator", exposure=0, detector=1)
    return DatasetRef(dataset_type, data_id, run="run")
