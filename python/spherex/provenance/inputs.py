"""Inputs of spectra: images, calibrations and catalogues by UUID."""

from __future__ import annotations

import dataclasses
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

from spherex.spectra import COLUMNS, OFF_FRAME, UNPLACED, values_of

if TYPE_CHECKING:
    from astropy.table import QTable
    from lsst.daf.butler import Butler, DatasetRef


CALIBRATION_COLUMNS = ("spectral_wcs_id", "solid_angle_id", "psf_id", "flux_correction_id", "error_scale_id")

_MOST_SPECTRA = 200
"""Largest number of spectra in a batch, whose targets are in one query."""

_MOST_ROWS = 100_000
"""Number of rows at which a batch is full: spectra of deep fields have tens of thousands."""

_COLUMNS = {column.name: column for column in COLUMNS}


class ImageRow(NamedTuple):
    """Image of a row of a spectrum, and the reason of a failure."""

    image_id: str
    exposure: int
    detector: int
    reason: str


@dataclasses.dataclass(frozen=True)
class SpectrumInputs:
    """Inputs of a spectrum, in a third of the memory of the spectrum.

    Parameters
    ----------
    ref
        The spectrum.
    rows
        Images of its rows.
    unplaced
        Images of failed measurements without a wavelength, which are not in
        its rows.
    ids
        UUIDs of calibrations and of the catalogue by column, for each row.
    off_frame
        Exposure and detector of images without the target.
    instruments
        Instruments of all of its images.
    """

    ref: DatasetRef
    rows: list[ImageRow]
    unplaced: list[ImageRow]
    ids: dict[str, list[str]]
    off_frame: frozenset[tuple[int, int]]
    instruments: tuple[str, ...]

    @classmethod
    def of(cls, ref: DatasetRef, spectrum: QTable) -> Self:
        """Return the inputs of a spectrum.

        Parameters
        ----------
        ref
            The spectrum.
        spectrum
            Its table.
        """

        def texts(name: str) -> list[str]:
            # Many rows and spectra have the same images and calibrations.
            return [sys.intern(text) for text in values_of(spectrum, _COLUMNS[name]).tolist()]

        exposure, detector = (values_of(spectrum, _COLUMNS[name]).tolist() for name in ("exposure", "detector"))
        return cls(
            ref,
            list(map(ImageRow, texts("image_id"), exposure, detector, texts("reason"))),
            [ImageRow(*(row[name] for name in ImageRow._fields)) for row in spectrum.meta.get(UNPLACED, ())],
            {name: texts(name) for name in (*CALIBRATION_COLUMNS, "catalog_id")},
            frozenset((exposure, detector) for exposure, detector in spectrum.meta.get(OFF_FRAME, ())),
            tuple(spectrum.meta.get("instruments", ())),
        )

    @property
    def catalog(self) -> str:
        """Name of the catalogue."""
        return str(self.ref.dataId["catalog"])

    @property
    def target(self) -> str:
        """Name of the target."""
        return str(self.ref.dataId["target"])


def read_in_batches(butler: Butler, refs: Sequence[DatasetRef]) -> Iterator[list[SpectrumInputs]]:
    """Read the inputs of spectra, with one whole spectrum in memory at a time.

    Parameters
    ----------
    butler
        The repository.
    refs
        The spectra.

    Yields
    ------
    batch : `list` [`SpectrumInputs`]
        Inputs of spectra of the same catalogue.
    """
    batch: list[SpectrumInputs] = []
    number = 0
    for ref in sorted(refs, key=lambda ref: (str(ref.dataId["catalog"]), ref)):
        is_full = number >= _MOST_ROWS or len(batch) >= _MOST_SPECTRA
        if batch and (is_full or batch[0].catalog != ref.dataId["catalog"]):
            yield batch
            batch, number = [], 0
        batch.append(SpectrumInputs.of(ref, butler.get(ref)))
        number += len(batch[-1].rows)
    if batch:
        yield batch


def known_datasets(butler: Butler, spectra: Iterable[SpectrumInputs]) -> dict[str, DatasetRef]:
    """Return the images and calibrations of spectra that are still in the repository, by UUID.

    Parameters
    ----------
    butler
        The repository.
    spectra
        Inputs of the spectra.
    """
    texts: set[str] = set()
    for spectrum in spectra:
        texts.update(row.image_id for row in (*spectrum.rows, *spectrum.unplaced))
        for name in CALIBRATION_COLUMNS:
            texts.update(spectrum.ids[name])
    return {str(ref.id): ref for ref in butler.get_many_datasets([uuid.UUID(text) for text in texts if text])}
