"""Inputs of the spectra of a patch: images, calibrations and catalogues by UUID."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from spherex.detectors import EPSF_TYPE, MEASUREMENTS_TYPE, SOLID_ANGLE_TYPE, SPECTRAL_WCS_TYPE
from spherex.spectra import IMAGES, MEASUREMENTS, patch_meta

if TYPE_CHECKING:
    import pyarrow as pa
    from lsst.daf.butler import Butler, DataCoordinate, DatasetRef
    from numpy.typing import NDArray


CALIBRATION_COLUMNS = ("spectral_wcs_id", "solid_angle_id", "psf_id", "flux_correction_id", "error_scale_id")

REPLACING = {"spectral_wcs_id": SPECTRAL_WCS_TYPE, "solid_angle_id": SOLID_ANGLE_TYPE, "psf_id": EPSF_TYPE}
"""Dataset types of calibrations that a measurement uses where they are valid, the PSF where the image has none.

With ``psfSource=image``, or another dataset type for the PSF, an image without one is never measured with `EPSF_TYPE`.
"""

_TEXTS = ("image_id", "reason", "catalog_id", "psf_source", *CALIBRATION_COLUMNS)


class Place(NamedTuple):
    """Data ID of an image."""

    instrument: str
    exposure: int
    detector: int

    @classmethod
    def of(cls, data_id: DataCoordinate) -> Self:
        """Return the place of an image.

        Parameters
        ----------
        data_id
            Data ID of the image.
        """
        return cls(str(data_id["instrument"]), int(data_id["exposure"]), int(data_id["detector"]))


@dataclasses.dataclass(frozen=True)
class Texts:
    """Column of texts, many of them equal.

    Parameters
    ----------
    known
        The different texts.
    codes
        Index of the text of each row, shape (n,).
    """

    known: list[str]
    codes: NDArray[np.int32]

    def has(self, chosen: set[str]) -> NDArray[np.bool_]:
        """Return which rows have one of some texts."""
        return np.array([text in chosen for text in self.known], bool)[self.codes]


@dataclasses.dataclass(frozen=True)
class PatchInputs:
    """Inputs of the spectra of a patch.

    Parameters
    ----------
    ref
        The spectra.
    targets
        Names of the targets with rows.
    target
        Index of the target of each row, shape (n,).
    texts
        Columns with UUIDs, and ``reason``.
    images
        Exposure and detector of each of the images ``texts["image_id"].known``.
    measured
        All images in which the patch was measured: a target without a row is
        outside of the frame.
    instruments
        Instruments of all images.
    lacking
        Whether an image ``texts["image_id"].known`` was measured without the
        calibration of a column of `REPLACING`, though it had a use for it.
    measurements
        Dataset type of the measurements.
    """

    ref: DatasetRef
    targets: list[str]
    target: NDArray[np.int32]
    texts: dict[str, Texts]
    images: list[tuple[int, int]]
    measured: frozenset[Place]
    instruments: tuple[str, ...]
    lacking: dict[str, NDArray[np.bool_]]
    measurements: str

    @classmethod
    def read(cls, butler: Butler, ref: DatasetRef) -> Self:
        """Read the inputs of the spectra of a patch.

        Parameters
        ----------
        butler
            The repository.
        ref
            The spectra.
        """
        names = ["target", "exposure", "detector", "time", *_TEXTS]
        patch = butler.get(ref, parameters={"columns": names})
        meta = patch_meta(patch)
        columns = {name: _texts(patch[name]) for name in ("target", *_TEXTS)}
        target, images = columns.pop("target"), columns["image_id"]
        first = np.unique(images.codes, return_index=True)[1]
        exposures, detectors = (patch[name].to_numpy()[first].tolist() for name in ("exposure", "detector"))
        # Of an image that could not be read nothing is known, not even the time.
        is_measured = np.isfinite(patch["time"].to_numpy())
        lacking = {}
        for name in REPLACING:
            lacks = is_measured & columns[name].has({""})
            if name == "psf_id":
                lacks &= columns["psf_source"].has({""})
            lacking[name] = np.zeros(len(images.known), bool)
            lacking[name][images.codes[lacks]] = True
        return cls(
            ref,
            target.known,
            target.codes,
            columns,
            list(zip(exposures, detectors, strict=True)),
            frozenset(Place(*image) for image in meta[IMAGES]),
            tuple(meta["instruments"]),
            lacking,
            # Earlier versions did not record it.
            meta.get(MEASUREMENTS, MEASUREMENTS_TYPE),
        )

    @property
    def catalog(self) -> str:
        """Name of the catalogue."""
        return str(self.ref.dataId["catalog"])

    @property
    def patch(self) -> int:
        """Number of the patch."""
        return int(self.ref.dataId["patch"])


def _texts(column: pa.ChunkedArray) -> Texts:
    encoded = column.combine_chunks().dictionary_encode()
    return Texts(encoded.dictionary.to_pylist(), encoded.indices.to_numpy())
