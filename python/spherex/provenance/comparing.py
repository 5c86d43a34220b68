"""Spectra against what the repository has now."""

from __future__ import annotations

__all__ = ["Comparison"]

import collections
import dataclasses
import uuid
from typing import TYPE_CHECKING

import numpy as np

from .catalogs import CurrentCatalogs
from .current import CurrentCalibrations, Place, nanoseconds_of
from .inputs import CALIBRATION_COLUMNS, SpectrumInputs
from .stale_spectrum import StaleSpectrum

if TYPE_CHECKING:
    from lsst.daf.butler import DatasetRef


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What spectra are compared with.

    Parameters
    ----------
    known
        Images and calibrations that the repository still has, by the text of
        their id.
    newest, wanted
        The newest images, and those that are to be in a spectrum, by the
        dataset type and the target.
    calibrations, catalogs
        What is newest of these.
    failure
        Text that is in the reasons of failures that count; `None` if none do.
    """

    known: dict[str, DatasetRef]
    newest: dict[tuple[str, str], dict[Place, uuid.UUID]]
    wanted: dict[tuple[str, str], set[Place]]
    calibrations: CurrentCalibrations
    catalogs: CurrentCatalogs
    failure: str | None

    def compare(self, spectrum: SpectrumInputs) -> StaleSpectrum:
        """Compare one spectrum."""
        stale = StaleSpectrum(spectrum.ref)
        self._compare_catalog(stale, spectrum)
        self._compare_images(stale, spectrum)
        self._compare_calibrations(stale, spectrum)
        if self.failure is not None:
            stale.failed = self._current_failures(spectrum, self.failure)
        return stale

    def _compare_catalog(self, stale: StaleSpectrum, spectrum: SpectrumInputs) -> None:
        used = spectrum.ids["catalog_id"]
        changes = {text: self.catalogs.change(spectrum.catalog, spectrum.target, text) for text in sorted(set(used))}
        stale.catalog_change = next(filter(None, changes.values()), "")
        if not stale.can_be_made:
            return
        for row, text in zip(spectrum.rows, used, strict=True):
            image = self.known.get(row.image_id)
            if changes[text] and image is not None and self._is_newest(image, spectrum):
                stale.moved.append(Place.of(image.dataId))

    def _is_newest(self, image: DatasetRef, spectrum: SpectrumInputs) -> bool:
        return self.newest[image.datasetType.name, spectrum.target].get(Place.of(image.dataId)) == image.id

    def _compare_images(self, stale: StaleSpectrum, spectrum: SpectrumInputs) -> None:
        seen: dict[str, set[Place]] = {}
        for row in (*spectrum.rows, *spectrum.unplaced):
            image = self.known.get(row.image_id)
            if image is None:
                continue
            name, place = image.datasetType.name, Place.of(image.dataId)
            seen.setdefault(name, set()).add(place)
            now = self.newest[name, spectrum.target].get(place)
            if now is None:
                stale.gone.append(place)
            elif now != image.id:
                stale.superseded.append(place)
        types = {name for name, target in self.newest if target == spectrum.target}
        for row in (*spectrum.rows, *spectrum.unplaced):
            if row.image_id and row.image_id not in self.known:
                # The repository has forgotten the instrument of this image.
                possible = [Place(one, row.exposure, row.detector) for one in spectrum.instruments or ("",)]
                renewed = [
                    place for place in possible if any(place in self.newest[name, spectrum.target] for name in types)
                ]
                stale.superseded += renewed
                stale.gone += [] if renewed else possible[:1]
        # Where the target is now, it may be on other frames.
        has_moved = stale.catalog_change and stale.can_be_made
        off_frame = frozenset() if has_moved else spectrum.off_frame
        for name, places in seen.items():
            missing = self.wanted[name, spectrum.target] - places - set(stale.superseded)
            stale.new += sorted(place for place in missing if (place.exposure, place.detector) not in off_frame)

    def _compare_calibrations(self, stale: StaleSpectrum, spectrum: SpectrumInputs) -> None:
        superseded = set(stale.superseded)
        current = [
            number
            for number, row in enumerate(spectrum.rows)
            if row.image_id in self.known and Place.of(self.known[row.image_id].dataId) not in superseded
        ]
        places = [Place.of(self.known[spectrum.rows[number].image_id].dataId) for number in current]
        detector = np.array([place.detector for place in places], np.int64)
        time = nanoseconds_of(spectrum.time[current])
        found: dict[str, set[Place]] = collections.defaultdict(set)
        for column in CALIBRATION_COLUMNS:
            used = [spectrum.ids[column][number] for number in current]
            for name in {self.known[text].datasetType.name for text in used if text in self.known}:
                for instrument in {place.instrument for place in places}:
                    valid = self.calibrations.ids_at(name, instrument, detector, time)
                    for place, text, now, moment in zip(places, used, valid, time, strict=True):
                        is_of_type = text in self.known and self.known[text].datasetType.name == name
                        if is_of_type and place.instrument == instrument and np.isfinite(moment) and str(now) != text:
                            found[name].add(place)
            # The calibration itself was removed: its type is known from the column alone.
            for place, text in zip(places, used, strict=True):
                if text and text not in self.known:
                    found[column.removesuffix("_id")].add(place)
        stale.recalibrated = {name: sorted(those) for name, those in found.items()}

    def _current_failures(self, spectrum: SpectrumInputs, failure: str) -> list[Place]:
        images = [
            self.known[row.image_id]
            for row in (*spectrum.rows, *spectrum.unplaced)
            if row.reason and failure in row.reason and row.image_id in self.known
        ]
        return [Place.of(image.dataId) for image in images if self._is_newest(image, spectrum)]
