"""Comparison of spectra with the images, calibrations and catalogues of today."""

from __future__ import annotations

import collections
import dataclasses
import functools
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from lsst.daf.butler import MissingDatasetTypeError

from spherex.calibrations import CalibrationIndex, instant_of
from spherex.detectors import CATALOG_TYPE
from spherex.errors import UserError, counted

from .inputs import CALIBRATION_COLUMNS, SpectrumInputs, known_datasets, read_in_batches

if TYPE_CHECKING:
    from astropy.table import Table
    from lsst.daf.butler import Butler, DataCoordinate, DatasetRef
    from numpy.typing import NDArray


MOVED = "moved in the catalogue"
DELETED = "no longer in the catalogue"
LOST = "with a position of a catalogue that is no longer there"

_NUMBERS = ("ra", "dec", "pmra", "pmdec", "ref_epoch")


@dataclasses.dataclass(frozen=True)
class _Version:
    """Version of a catalogue: rows by name, and the columns `_NUMBERS`, of shape (n, 5)."""

    rows: dict[str, int]
    numbers: NDArray[np.float64]


class CurrentCatalogs:
    """The newest version of each catalogue, and earlier versions.

    Parameters
    ----------
    butler
        The repository.
    chain
        Collection of a catalogue, the newest version first, with ``{catalog}``
        in place of the name of the catalogue.
    """

    def __init__(self, butler: Butler, chain: str) -> None:
        self._butler = butler
        self._chain = chain
        self._newest = functools.cache(self._find)
        # The value is None for versions that were removed.
        self._version = functools.cache(self._read)

    def change(self, catalog: str, target: str, used: str) -> str:
        """Return how a target has changed in the catalogue.

        Parameters
        ----------
        catalog, target
            Names.
        used
            UUID of the version that was used; empty if it is unknown.

        Returns
        -------
        change
            `MOVED`, `DELETED`, `LOST`, or empty if the position is the same or
            the version that was used is unknown.

        Raises
        ------
        UserError
            If the catalogue does not exist.
        lsst.daf.butler.MissingCollectionError
            If the collection does not exist.
        """
        if not used or (newest := self._newest(catalog)) == used:
            return ""
        now, before = self._version(newest), self._version(used)
        if now is None:
            raise UserError(f"The file of {CATALOG_TYPE} of {catalog} was removed: register the catalogue again.")
        if target not in now.rows:
            return DELETED
        if before is None or target not in before.rows:
            return LOST
        is_same = np.array_equal(now.numbers[now.rows[target]], before.numbers[before.rows[target]], equal_nan=True)
        return "" if is_same else MOVED

    def _find(self, catalog: str) -> str:
        chain = self._chain.replace("{catalog}", catalog)
        try:
            ref = self._butler.find_dataset(CATALOG_TYPE, catalog=catalog, collections=chain)
        except MissingDatasetTypeError:
            ref = None
        if ref is None:
            raise UserError(f"There is no {CATALOG_TYPE} of {catalog} in {chain}: name its collection with --catalogs.")
        return str(ref.id)

    def _read(self, text: str) -> _Version | None:
        ref = self._butler.get_dataset(uuid.UUID(text))
        try:
            return None if ref is None else _version_of(self._butler.get(ref))
        except FileNotFoundError:
            return None


def _version_of(table: Table) -> _Version:
    numbers = np.full((len(table), len(_NUMBERS)), np.nan)
    for column, name in enumerate(_NUMBERS):
        # Without motions a column of such a name does not belong to the position.
        if name in table.colnames and (column < 2 or _NUMBERS[2] in table.colnames):
            numbers[:, column] = np.ma.filled(np.ma.asarray(table[name], dtype=np.float64), np.nan)
    motions = numbers[:, 2:]
    # The epoch of a target without motion is ignored: see `spherex.spectra.positions_at`.
    motions[~np.isfinite(motions).all(axis=1) | (motions[:, :2] == 0).all(axis=1)] = np.nan
    return _Version({name: row for row, name in enumerate(np.asarray(table["name"], dtype=str).tolist())}, numbers)


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


def current_images(
    butler: Butler, dataset_type: str, chain: str, catalog: str, targets: Sequence[str], where: str = ""
) -> dict[str, dict[Place, uuid.UUID]]:
    """Find the images whose regions overlap those of targets, the newest version of each.

    Parameters
    ----------
    butler
        The repository.
    dataset_type
        Name of the dataset type of the images.
    chain
        Collection of the images, the newest first.
    catalog, targets
        Names of the catalogue and of targets.
    where
        Data query for the images.

    Returns
    -------
    images
        UUIDs of the images of each target.
    """
    found: dict[str, dict[Place, uuid.UUID]] = {target: {} for target in targets}
    with butler.query() as query:
        query = query.where({"catalog": catalog}, "target IN (:targets)", bind={"targets": list(targets)})
        if where:
            query = query.where(where)
        try:
            newest = {Place.of(ref.dataId): ref.id for ref in query.datasets(dataset_type, chain, find_first=True)}
            # With find_first the query would return each image for one of its targets only.
            pairs = query.join_dataset_search(dataset_type, chain).data_ids(["target", "exposure", "detector"])
            for data_id in pairs:
                place = Place.of(data_id)
                found[str(data_id["target"])][place] = newest[place]
        except MissingDatasetTypeError:
            return found
    return found


def image_types(butler: Butler, chain: str) -> set[str]:
    """Return the dataset types of the images in a collection.

    Parameters
    ----------
    butler
        The repository.
    chain
        Collection of the images.
    """
    dimensions = butler.dimensions.conform(Place._fields)
    infos = butler.collections.query_info(chain, flatten_chains=True, include_summary=True)
    names = {name for info in infos for name in info.dataset_types or ()}
    return {name for name in names if butler.get_dataset_type(name).dimensions == dimensions}


def instants_of(butler: Butler, images: Iterable[DatasetRef]) -> dict[tuple[str, int], int]:
    """Return the instants at which the calibrations of images are looked up.

    Parameters
    ----------
    butler
        The repository.
    images
        The images.

    Returns
    -------
    instants
        Middle of each exposure (TAI, ns) by instrument and exposure; without
        exposures whose time the repository does not know.
    """
    exposures = {image.dataId.subset(butler.dimensions.conform(["exposure"])) for image in images}
    if not exposures:
        return {}
    with butler.query() as query:
        records = query.join_data_coordinates(exposures).dimension_records("exposure")
        found = {(record.instrument, record.id): instant_of(record.timespan) for record in records}
    return {exposure: instant for exposure, instant in found.items() if instant is not None}


@dataclasses.dataclass
class StaleSpectrum:
    """A spectrum that is out of date.

    Parameters
    ----------
    ref
        The spectrum.
    superseded
        Images with a newer version.
    gone
        Images that are no longer in the collection of images.
    new
        Images that contain the target and are not in the spectrum.
    recalibrated
        Images for which another calibration is valid, by the dataset type of
        the calibration.
    catalog_change
        Change of the target in the catalogue, see `CurrentCatalogs.change`.
    moved
        Images that were measured at an outdated position of the target.
    failed
        Images whose measurement failed.
    """

    ref: DatasetRef
    superseded: list[Place] = dataclasses.field(default_factory=list)
    gone: list[Place] = dataclasses.field(default_factory=list)
    new: list[Place] = dataclasses.field(default_factory=list)
    recalibrated: dict[str, list[Place]] = dataclasses.field(default_factory=dict)
    catalog_change: str = ""
    moved: list[Place] = dataclasses.field(default_factory=list)
    failed: list[Place] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        places = (self.superseded, self.gone, self.new, self.recalibrated, self.failed)
        return bool(self.catalog_change) or any(places)

    @property
    def reason(self) -> str:
        """Reasons why the spectrum is out of date."""
        parts = [
            (len(self.superseded), "superseded"),
            (len(self.gone), "no longer there"),
            (len(self.new), "new"),
            *((len(places), f"with another {name}") for name, places in sorted(self.recalibrated.items())),
            (len(self.failed), "failed"),
        ]
        reasons = [f"{counted(number, 'image')} {what}" for number, what in parts if number]
        return ", ".join([self.catalog_change] * bool(self.catalog_change) + reasons)

    @property
    def can_be_remade(self) -> bool:
        """Whether the target is still in the catalogue."""
        return self.catalog_change != DELETED

    @property
    def to_measure(self) -> set[Place]:
        """Images to measure, again or for the first time."""
        recalibrated = (place for places in self.recalibrated.values() for place in places)
        return {*self.superseded, *self.new, *recalibrated, *self.moved, *self.failed}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Present state of the inputs of spectra, for comparison.

    Parameters
    ----------
    known
        Images and calibrations that are still in the repository, by UUID.
    types
        Dataset types of the images of each spectrum.
    newest, wanted
        The newest images, and those that belong into a spectrum, by dataset
        type and target.
    instants
        Middle of each exposure, see `instants_of`.
    calibrations
        Returns the calibrations of a dataset type.
    catalogs
        The newest versions of the catalogues.
    failure
        Text in the reasons of failures that count; `None` if failures do not
        count.
    """

    known: dict[str, DatasetRef]
    types: dict[uuid.UUID, set[str]]
    newest: dict[tuple[str, str], dict[Place, uuid.UUID]]
    wanted: dict[tuple[str, str], set[Place]]
    instants: dict[tuple[str, int], int]
    calibrations: Callable[[str], CalibrationIndex]
    catalogs: CurrentCatalogs
    failure: str | None

    def compare(self, spectrum: SpectrumInputs) -> StaleSpectrum:
        """Compare one spectrum.

        Parameters
        ----------
        spectrum
            Inputs of the spectrum.

        Returns
        -------
        stale
            Differences; false if there are none.
        """
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
        if not stale.can_be_remade:
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
        types = self.types[spectrum.ref.id]
        for row in (*spectrum.rows, *spectrum.unplaced):
            if row.image_id and row.image_id not in self.known:
                # The instrument of an image that was removed is one of those of the spectrum.
                possible = [
                    Place(instrument, row.exposure, row.detector) for instrument in spectrum.instruments or ("",)
                ]
                renewed = [
                    place for place in possible if any(place in self.newest[name, spectrum.target] for name in types)
                ]
                stale.superseded += renewed
                stale.gone += [] if renewed else possible[:1]
        # At its new position the target may be on other frames.
        has_moved = stale.catalog_change and stale.can_be_remade
        off_frame = frozenset() if has_moved else spectrum.off_frame
        for name, places in seen.items():
            missing = self.wanted[name, spectrum.target] - places - set(stale.superseded)
            stale.new += sorted(place for place in missing if (place.exposure, place.detector) not in off_frame)

    def _compare_calibrations(self, stale: StaleSpectrum, spectrum: SpectrumInputs) -> None:
        superseded = set(stale.superseded)
        changed: dict[str, set[Place]] = collections.defaultdict(set)
        for column in CALIBRATION_COLUMNS:
            used: dict[tuple[str, str], list[tuple[Place, uuid.UUID]]] = collections.defaultdict(list)
            for row, text in zip(spectrum.rows, spectrum.ids[column], strict=True):
                image, calibration = self.known.get(row.image_id), self.known.get(text)
                if image is None or not text or (place := Place.of(image.dataId)) in superseded:
                    continue
                if calibration is None:
                    # Of a calibration that was removed the column is known, but not the dataset type.
                    changed[column.removesuffix("_id")].add(place)
                elif place[:2] in self.instants:
                    used[calibration.datasetType.name, place.instrument].append((place, calibration.id))
            for (name, instrument), pairs in used.items():
                index = self.calibrations(name)
                detectors = np.array([place.detector for place, _ in pairs], np.int64)
                instants = np.array([self.instants[place[:2]] for place, _ in pairs], np.int64)
                numbers = index.find_all(instrument, detectors, instants).tolist()
                changed[name].update(
                    place
                    for (place, id_), number in zip(pairs, numbers, strict=True)
                    if number < 0 or index.refs[number].id != id_
                )
        stale.recalibrated = {name: sorted(places) for name, places in changed.items() if places}

    def _current_failures(self, spectrum: SpectrumInputs, failure: str) -> list[Place]:
        images = [
            self.known[row.image_id]
            for row in (*spectrum.rows, *spectrum.unplaced)
            if row.reason and failure in row.reason and row.image_id in self.known
        ]
        return [Place.of(image.dataId) for image in images if self._is_newest(image, spectrum)]


def find_stale_spectra(
    butler: Butler,
    refs: Sequence[DatasetRef],
    chain: str,
    calibrations: Sequence[str],
    where: str = "",
    *,
    catalogs: str,
    failure: str | None = None,
) -> Iterator[StaleSpectrum]:
    """Find spectra that are out of date.

    Calibrations and catalogues are compared if the spectrum names them. Values
    from the image itself stay valid as long as the image does.

    Parameters
    ----------
    butler
        The repository.
    refs
        The spectra.
    chain
        Collection of the images, the newest first.
    calibrations
        Collections of the calibrations, in the order of the search.
    where
        Data query for the images with which the spectra were made. Other
        images are not reported as new.
    catalogs
        Collection of a catalogue, with ``{catalog}`` in place of its name.
    failure
        Report spectra with failed measurements whose reason contains this
        text, which may be empty. With `None` such spectra are not reported.

    Yields
    ------
    stale
        Spectra that are out of date.

    Raises
    ------
    UserError
        If a catalogue of the spectra does not exist, or ``where`` does not
        select an image of any spectrum.
    """
    index_of = functools.cache(lambda name: CalibrationIndex(butler.registry, name, calibrations))
    catalogs_now = CurrentCatalogs(butler, catalogs)
    all_types = functools.cache(lambda: image_types(butler, chain))
    has_any = has_chosen = False
    for batch in read_in_batches(butler, refs):
        known = known_datasets(butler, batch)
        ids = {row.image_id for spectrum in batch for row in (*spectrum.rows, *spectrum.unplaced)}
        types: dict[uuid.UUID, set[str]] = {}
        targets: dict[str, set[str]] = collections.defaultdict(set)
        for spectrum in batch:
            images = (known.get(row.image_id) for row in (*spectrum.rows, *spectrum.unplaced))
            # Perhaps all images were removed, and others ingested under their names.
            types[spectrum.ref.id] = {image.datasetType.name for image in images if image is not None} or all_types()
            for name in types[spectrum.ref.id]:
                targets[name].add(spectrum.target)
        newest: dict[tuple[str, str], dict[Place, uuid.UUID]] = {}
        wanted: dict[tuple[str, str], set[Place]] = {}
        for name, names in targets.items():
            for target, current in current_images(butler, name, chain, batch[0].catalog, sorted(names)).items():
                newest[name, target] = current
                wanted[name, target] = set(current)
            if where:
                chosen = current_images(butler, name, chain, batch[0].catalog, sorted(names), where)
                wanted.update({(name, target): set(current) for target, current in chosen.items()})
                has_chosen |= any(chosen.values())
        has_any |= any(newest.values())
        instants = instants_of(butler, (known[text] for text in ids if text in known))
        comparison = Comparison(known, types, newest, wanted, instants, index_of, catalogs_now, failure)
        yield from filter(None, map(comparison.compare, batch))
    if where and has_any and not has_chosen:
        raise UserError(f"No spectrum has an image where {where}: is a name in this query misspelt?")
