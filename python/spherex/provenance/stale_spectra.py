"""Spectra whose inputs have been superseded."""

from __future__ import annotations

__all__ = ["StaleSpectrum", "find_stale_spectra", "query_of_images", "query_of_targets"]

import collections
import dataclasses
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spherex.spectra import unmasked
from spherex.spectra.gathering import OFF_FRAME, UNPLACED

from .current import CurrentCalibrations, Place, current_images, nanoseconds_of

if TYPE_CHECKING:
    from astropy.table import QTable
    from lsst.daf.butler import Butler, DatasetRef

_AT_ONCE = 200
"""Spectra that are in memory, and targets that one query is for."""

_CALIBRATION_COLUMNS = ("spectral_wcs_id", "solid_angle_id", "psf_id", "flux_correction_id")


@dataclasses.dataclass
class StaleSpectrum:
    """A spectrum that would be another one today.

    Parameters
    ----------
    ref
        The spectrum.
    superseded
        Images of which there is a newer version.
    gone
        Images that the collection of images has no more.
    new
        Images that contain the target and are not in the spectrum.
    recalibrated
        Images for which another calibration is valid, by the dataset type of
        the calibration.
    """

    ref: DatasetRef
    superseded: list[Place] = dataclasses.field(default_factory=list)
    gone: list[Place] = dataclasses.field(default_factory=list)
    new: list[Place] = dataclasses.field(default_factory=list)
    recalibrated: dict[str, list[Place]] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.superseded or self.gone or self.new or self.recalibrated)

    @property
    def reason(self) -> str:
        """What was superseded, for people."""
        parts = [
            (len(self.superseded), "superseded"),
            (len(self.gone), "no longer there"),
            (len(self.new), "new"),
            *((len(places), f"with another {name}") for name, places in sorted(self.recalibrated.items())),
        ]
        return ", ".join(f"{number} image{'s' * (number != 1)} {what}" for number, what in parts if number)

    @property
    def to_measure(self) -> set[Place]:
        """Images that have to be measured again, or for the first time."""
        return {*self.superseded, *self.new, *(place for places in self.recalibrated.values() for place in places)}


def find_stale_spectra(
    butler: Butler, refs: Sequence[DatasetRef], chain: str, calibrations: str, where: str = ""
) -> Iterator[StaleSpectrum]:
    """Compare spectra with what the repository has now.

    Calibrations count where the spectrum names one: what was taken from the
    image itself stays right as long as the image does.

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

    Yields
    ------
    stale : `StaleSpectrum`
        Those that differ.
    """
    current = CurrentCalibrations(butler, calibrations)
    by_catalog: dict[str, list[DatasetRef]] = {}
    for ref in sorted(refs):
        by_catalog.setdefault(str(ref.dataId["catalog"]), []).append(ref)
    for catalog, those in by_catalog.items():
        for start in range(0, len(those), _AT_ONCE):
            yield from _compare(butler, catalog, those[start : start + _AT_ONCE], chain, current, where)


def _compare(
    butler: Butler, catalog: str, refs: Sequence[DatasetRef], chain: str, current: CurrentCalibrations, where: str
) -> Iterator[StaleSpectrum]:
    spectra = [unmasked(butler.get(ref)) for ref in refs]
    inputs = _known_inputs(butler, spectra)
    targets = [str(ref.dataId["target"]) for ref in refs]
    types = {known.datasetType.name for spectrum in spectra for known in _images_of(spectrum, inputs)}
    newest: dict[tuple[str, str], dict[Place, uuid.UUID]] = {}
    wanted: dict[tuple[str, str], set[Place]] = {}
    for name in types:
        for target, images in current_images(butler, name, chain, catalog, targets).items():
            newest[name, target] = images
            wanted[name, target] = set(images)
        if where:
            chosen = current_images(butler, name, chain, catalog, targets, where)
            wanted.update({(name, target): set(images) for target, images in chosen.items()})
    for ref, target, spectrum in zip(refs, targets, spectra, strict=True):
        stale = StaleSpectrum(ref)
        seen: dict[str, set[Place]] = {}
        for image in _images_of(spectrum, inputs):
            name, place = image.datasetType.name, Place.of(image.dataId)
            seen.setdefault(name, set()).add(place)
            now = newest[name, target].get(place)
            if now is None:
                stale.gone.append(place)
            elif now != image.id:
                stale.superseded.append(place)
        for row in _lost(spectrum, inputs):
            # The repository has forgotten the instrument of this image.
            instruments = spectrum.meta.get("instruments", ("",))
            possible = [Place(one, row["exposure"], row["detector"]) for one in instruments]
            renewed = [place for place in possible if any(place in newest[name, target] for name in types)]
            stale.superseded += renewed
            stale.gone += [] if renewed else possible[:1]
        off_frame = {tuple(pair) for pair in spectrum.meta.get(OFF_FRAME, ())}
        for name, places in seen.items():
            missing = wanted[name, target] - places - set(stale.superseded)
            stale.new += sorted(place for place in missing if (place.exposure, place.detector) not in off_frame)
        _compare_calibrations(stale, spectrum, inputs, current)
        if stale:
            yield stale


def _rows_of(spectrum: QTable) -> list[dict[str, Any]]:
    """Return what identifies the images of a spectrum, also of those without wavelength."""
    names = ("image_id", "exposure", "detector")
    rows = zip(*(spectrum[name].tolist() for name in names), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows] + list(spectrum.meta.get(UNPLACED, ()))


def _known_inputs(butler: Butler, spectra: Iterable[QTable]) -> dict[str, DatasetRef]:
    """Return images and calibrations by the text of their id."""
    texts: set[str] = set()
    for spectrum in spectra:
        texts.update(row["image_id"] for row in _rows_of(spectrum))
        for name in _CALIBRATION_COLUMNS:
            texts.update(spectrum[name].tolist())
    return {str(ref.id): ref for ref in butler.get_many_datasets([uuid.UUID(text) for text in texts if text])}


def _images_of(spectrum: QTable, inputs: dict[str, DatasetRef]) -> list[DatasetRef]:
    return [inputs[row["image_id"]] for row in _rows_of(spectrum) if row["image_id"] in inputs]


def _lost(spectrum: QTable, inputs: dict[str, DatasetRef]) -> list[dict[str, Any]]:
    return [row for row in _rows_of(spectrum) if row["image_id"] and row["image_id"] not in inputs]


def _compare_calibrations(
    stale: StaleSpectrum, spectrum: QTable, inputs: dict[str, DatasetRef], current: CurrentCalibrations
) -> None:
    is_current = [
        text in inputs and Place.of(inputs[text].dataId) not in stale.superseded
        for text in spectrum["image_id"].tolist()
    ]
    rows = spectrum[np.array(is_current, bool)]
    time = nanoseconds_of(rows["time"].to_value("d"))
    places = [Place.of(inputs[text].dataId) for text in rows["image_id"].tolist()]
    found: dict[str, set[Place]] = collections.defaultdict(set)
    for column in _CALIBRATION_COLUMNS:
        used = rows[column].tolist()
        for name in {inputs[text].datasetType.name for text in used if text in inputs}:
            for instrument in {place.instrument for place in places}:
                valid = current.ids_at(name, instrument, rows["detector"], time)
                for place, text, now, moment in zip(places, used, valid, time, strict=True):
                    is_of_type = text in inputs and inputs[text].datasetType.name == name
                    if is_of_type and place.instrument == instrument and np.isfinite(moment) and str(now) != text:
                        found[name].add(place)
        # The calibration itself was removed: its type is known from the column alone.
        for place, text in zip(places, used, strict=True):
            if text and text not in inputs:
                found[column.removesuffix("_id")].add(place)
    stale.recalibrated = {name: sorted(those) for name, those in found.items()}


def query_of_targets(stale: Iterable[StaleSpectrum]) -> str:
    """Return a data query for the targets of spectra.

    Raises
    ------
    ValueError
        If the name of one cannot stand in a query.
    """
    by_catalog: dict[str, list[str]] = {}
    for one in stale:
        by_catalog.setdefault(str(one.ref.dataId["catalog"]), []).append(str(one.ref.dataId["target"]))
    parts = [
        f"(catalog = {_quoted(catalog)} AND target IN ({', '.join(map(_quoted, sorted(targets)))}))"
        for catalog, targets in sorted(by_catalog.items())
    ]
    return " OR ".join(parts)


def query_of_images(stale: Iterable[StaleSpectrum]) -> str:
    """Return a data query for the images that have to be measured again, and the catalogues.

    Raises
    ------
    ValueError
        If the name of a catalogue cannot stand in a query.
    """
    detectors: dict[tuple[str, str, int], set[int]] = {}
    for one in stale:
        for place in one.to_measure:
            key = (str(one.ref.dataId["catalog"]), place.instrument, place.exposure)
            detectors.setdefault(key, set()).add(place.detector)
    by_owner: dict[tuple[str, str], list[str]] = {}
    for (catalog, instrument, exposure), numbers in sorted(detectors.items()):
        numbered = ", ".join(map(str, sorted(numbers)))
        by_owner.setdefault((catalog, instrument), []).append(f"(exposure = {exposure} AND detector IN ({numbered}))")
    parts = [
        f"(catalog = {_quoted(catalog)} AND instrument = {_quoted(instrument)} AND ({' OR '.join(places)}))"
        for (catalog, instrument), places in by_owner.items()
    ]
    return " OR ".join(parts)


def _quoted(text: str) -> str:
    if "'" in text:
        raise ValueError(f"{text!r} has a quotation mark, which a data query cannot have")
    return f"'{text}'"
