"""Spectra whose inputs have been superseded."""

from __future__ import annotations

__all__ = ["find_stale_spectra"]

import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .catalogs import CurrentCatalogs
from .comparing import Comparison
from .current import CurrentCalibrations, Place, current_images
from .inputs import known_datasets, read_in_batches
from .stale_spectrum import StaleSpectrum

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef


def find_stale_spectra(
    butler: Butler,
    refs: Sequence[DatasetRef],
    chain: str,
    calibrations: str,
    where: str = "",
    *,
    catalogs: str,
    failure: str | None = None,
) -> Iterator[StaleSpectrum]:
    """Compare spectra with what the repository has now.

    Calibrations count where the spectrum names one: what was taken from the
    image itself stays right as long as the image does. So do catalogues.

    Parameters
    ----------
    butler
        The repository.
    refs
        The spectra.
    chain
        Collection of the images, the newest first.
    calibrations
        Collection of the calibrations.
    where
        Expression that chose the images when the spectra were made; others
        are not missed.
    catalogs
        Collection of a catalogue, for whose name ``{catalog}`` stands.
    failure
        Spectra with measurements that failed count, too, if the reason has
        this text, as all have the empty one. With `None` they do not.

    Yields
    ------
    stale : `StaleSpectrum`
        Those that differ.

    Raises
    ------
    ValueError
        If a catalogue that spectra were made from is not there, or ``where``
        chooses no image of any spectrum.
    """
    calibrations_now, catalogs_now = CurrentCalibrations(butler, calibrations), CurrentCatalogs(butler, catalogs)
    has_any = has_chosen = False
    for batch in read_in_batches(butler, refs):
        known = known_datasets(butler, batch)
        catalog, targets = batch[0].catalog, [spectrum.target for spectrum in batch]
        newest: dict[tuple[str, str], dict[Place, uuid.UUID]] = {}
        wanted: dict[tuple[str, str], set[Place]] = {}
        ids = {row.image_id for spectrum in batch for row in (*spectrum.rows, *spectrum.unplaced)}
        for name in {known[text].datasetType.name for text in ids if text in known}:
            for target, images in current_images(butler, name, chain, catalog, targets).items():
                newest[name, target] = images
                wanted[name, target] = set(images)
            if where:
                chosen = current_images(butler, name, chain, catalog, targets, where)
                wanted.update({(name, target): set(images) for target, images in chosen.items()})
                has_chosen |= any(chosen.values())
        has_any |= any(newest.values())
        comparison = Comparison(known, newest, wanted, calibrations_now, catalogs_now, failure)
        yield from filter(None, map(comparison.compare, batch))
    if where and has_any and not has_chosen:
        raise ValueError(f"No spectrum has an image where {where}: is a name in this query misspelt?")
