"""Comparison of spectra with the images, calibrations and catalogues of today."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from lsst.daf.butler import MissingCollectionError, MissingDatasetTypeError

from spherex.calibrations import CalibrationIndex
from spherex.detectors import CATALOG_TYPE
from spherex.errors import UserError, counted
from spherex.repository import has_datasets

from .images import current_images, image_types, images_at, instants_of, patches_of, targets_on
from .inputs import CALIBRATION_COLUMNS, REPLACING, PatchInputs, Place

if TYPE_CHECKING:
    from astropy.table import Table
    from lsst.daf.butler import Butler, DatasetRef
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


@dataclasses.dataclass
class StaleSpectrum:
    """A spectrum that is out of date.

    Parameters
    ----------
    ref
        The spectra of the patch of the target.
    target
        Name of the target.
    superseded
        Images with another version that comes first now.
    gone
        Images that are no longer in the collection of images.
    new
        Images that contain the target and are not in the spectrum.
    recalibrated
        Images for which another calibration is valid, or one where there was
        none, or none where there was one, by this change with the dataset type
        of the calibration.
    catalog_change
        Change of the target in the catalogue, see `CurrentCatalogs.change`.
    moved
        Images that were measured at an outdated position of the target.
    failed
        Images whose measurement failed.
    patch_now
        Patch of the target in the catalogue of today.
    unmeasured
        Images of the patches without a table of measurements. The spectra were
        made with them, or with other images of today, and would lack them if
        they were gathered again. Alone they are not a reason to do so.
    unknown_type
        Dataset type of the measurements if their collection does not have any.
        Then they are elsewhere, or were all removed, and ``unmeasured`` is
        empty; otherwise the text is empty.
    """

    ref: DatasetRef
    target: str
    superseded: list[Place] = dataclasses.field(default_factory=list)
    gone: list[Place] = dataclasses.field(default_factory=list)
    new: list[Place] = dataclasses.field(default_factory=list)
    recalibrated: dict[str, list[Place]] = dataclasses.field(default_factory=dict)
    catalog_change: str = ""
    moved: list[Place] = dataclasses.field(default_factory=list)
    failed: list[Place] = dataclasses.field(default_factory=list)
    patch_now: int | None = None
    unmeasured: set[Place] = dataclasses.field(default_factory=set)
    unknown_type: str = ""

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
            *((len(places), change) for change, places in sorted(self.recalibrated.items())),
            (len(self.failed), "failed"),
            (len(self.unmeasured.difference(self.new, self.superseded)), "of the patch without their measurements"),
        ]
        reasons = [f"{counted(number, 'image')} {change}" for number, change in parts if number]
        return ", ".join([self.catalog_change] * bool(self.catalog_change) + reasons)

    @property
    def patches(self) -> set[int]:
        """Patches to gather, to have the spectrum as it should be."""
        return {int(self.ref.dataId["patch"])} | ({self.patch_now} if self.patch_now is not None else set())

    @property
    def is_deleted(self) -> bool:
        """Whether the catalogue has lost the target: remaking its patch leaves it out."""
        return self.catalog_change == DELETED

    @property
    def to_measure(self) -> set[Place]:
        """Images to measure, again or for the first time."""
        if self.is_deleted:
            return self.unmeasured
        recalibrated = (place for places in self.recalibrated.values() for place in places)
        return {*self.superseded, *self.new, *recalibrated, *self.moved, *self.failed, *self.unmeasured}


class Comparison:
    """Comparison of spectra with the inputs of today.

    Parameters
    ----------
    butler
        The repository.
    chain
        Collection of the images, the newest first.
    calibrations
        Collections of the calibrations, in the order of the search.
    where
        Data query for images that belong into a spectrum; empty for all.
    catalogs
        Collection of a catalogue, see `CurrentCatalogs`.
    failure
        Text in the reasons of failures that count; `None` if failures do not
        count.
    measurements
        Collection of the measurements; `None` if they are not looked for.

    Attributes
    ----------
    has_images, has_chosen
        Whether there are images of any patch, and such that ``where`` selects.
    """

    def __init__(
        self,
        butler: Butler,
        chain: str,
        calibrations: Sequence[str],
        where: str,
        catalogs: str,
        failure: str | None,
        measurements: str | None,
    ) -> None:
        self._butler = butler
        self._chain = chain
        self._where = where
        self._failure = failure
        self._measurements = measurements
        self._catalogs = CurrentCatalogs(butler, catalogs)
        self._index_of = functools.cache(lambda name: CalibrationIndex(butler.registry, name, calibrations))
        self._has_measurements = functools.cache(lambda name: has_datasets(butler, name, str(measurements)))
        self._types = sorted(image_types(butler, chain))
        # Patches that lie close together have the same images and calibrations.
        self._calibrations: dict[str, DatasetRef | None] = {}
        self._instants: dict[tuple[str, int], int | None] = {}
        self.has_images = self.has_chosen = False

    def compare(self, spectra: PatchInputs) -> list[StaleSpectrum]:
        """Compare the spectra of a patch.

        Parameters
        ----------
        spectra
            Inputs of the spectra.

        Returns
        -------
        stale
            Differences of each spectrum; false if there are none.
        """
        data_id = {"catalog": spectra.catalog, "patch": spectra.patch}
        found = [StaleSpectrum(spectra.ref, target) for target in spectra.targets]
        newest = {name: current_images(self._butler, name, self._chain, data_id) for name in self._types}
        images = _Images.of(self._butler, self._chain, spectra, newest)
        self._compare_images(found, spectra, images)
        moved = self._compare_catalog(found, spectra, images)
        self._find_new(found, spectra, images, newest, moved)
        self._compare_calibrations(found, spectra, images)
        if self._failure is not None:
            reasons = spectra.texts["reason"]
            has_failed = reasons.has({text for text in reasons.known if text and self._failure in text})
            for row in np.flatnonzero(has_failed & images.is_current[spectra.texts["image_id"].codes]).tolist():
                found[spectra.target[row]].failed.append(images.place_of(spectra, row))
        if self._measurements is not None and (changed := [stale for stale in found if stale]):
            self._find_unmeasured(changed, spectra, images, newest)
        return found

    def _find_unmeasured(
        self,
        changed: Sequence[StaleSpectrum],
        spectra: PatchInputs,
        images: _Images,
        newest: Mapping[str, Mapping[Place, DatasetRef]],
    ) -> None:
        """Find images of the patches without a table of measurements."""
        if not self._has_measurements(spectra.measurements):
            for stale in changed:
                stale.unknown_type = spectra.measurements
            return
        types = images.types or set(self._types)
        unmeasured = {}
        for patch in {spectra.patch}.union(*(stale.patches for stale in changed)):
            data_id = {"catalog": spectra.catalog, "patch": patch}
            if patch == spectra.patch and not self._where:
                wanted = [newest.get(name, {}) for name in types]
            else:
                wanted = [current_images(self._butler, name, self._chain, data_id, self._where) for name in types]
            measured = current_images(self._butler, spectra.measurements, str(self._measurements), data_id)
            unmeasured[patch] = set().union(*wanted) - measured.keys()
        for stale in changed:
            stale.unmeasured = set().union(*(unmeasured[patch] for patch in stale.patches))

    @staticmethod
    def _compare_images(found: list[StaleSpectrum], spectra: PatchInputs, images: _Images) -> None:
        codes = spectra.texts["image_id"].codes
        is_changed = np.array([bool(new or lost) for new, lost in zip(images.superseded, images.gone, strict=True)])
        for row in np.flatnonzero(is_changed[codes]).tolist():
            stale = found[spectra.target[row]]
            stale.superseded += images.superseded[codes[row]]
            stale.gone += images.gone[codes[row]]

    def _compare_catalog(self, found: list[StaleSpectrum], spectra: PatchInputs, images: _Images) -> list[int]:
        """Compare positions, and return the indices of the targets that have moved."""
        used, codes = spectra.texts["catalog_id"], spectra.texts["image_id"].codes
        pairs = np.unique(spectra.target.astype(np.int64) * len(used.known) + used.codes).tolist()
        moved = []
        for pair in pairs:
            number, version = divmod(pair, len(used.known))
            stale = found[number]
            change = self._catalogs.change(spectra.catalog, stale.target, used.known[version])
            if not change:
                continue
            stale.catalog_change = stale.catalog_change or change
            if stale.is_deleted:
                continue
            moved.append(number)
            rows = np.flatnonzero((spectra.target == number) & (used.codes == version) & images.is_current[codes])
            stale.moved += [images.place_of(spectra, row) for row in rows.tolist()]
        return sorted(set(moved))

    def _find_new(
        self,
        found: list[StaleSpectrum],
        spectra: PatchInputs,
        images: _Images,
        newest: Mapping[str, Mapping[Place, DatasetRef]],
        moved: Sequence[int],
    ) -> None:
        """Find images of today that are not in the spectra."""
        types = images.types or set(self._types)
        data_id = {"catalog": spectra.catalog, "patch": spectra.patch}
        wanted: set[Place] = set()
        for name in types:
            self.has_images |= bool(newest.get(name))
            chosen = newest.get(name, {})
            if self._where:
                chosen = current_images(self._butler, name, self._chain, data_id, self._where)
                self.has_chosen |= bool(chosen)
            wanted |= set(chosen)
        # If all images were removed, what has come in their place is superseded, not new.
        if images.types and (missing := wanted - spectra.measured):
            by_target = targets_on(self._butler, data_id, missing)
            for stale in found:
                stale.new = sorted(by_target.get(stale.target, set()) - set(stale.superseded))
        # At its new position a target may be on other frames, and in another patch.
        patches = patches_of(self._butler, spectra.catalog, [found[number].target for number in moved])
        known = {}
        for number in moved:
            found[number].patch_now = patches[found[number].target]
            rows = np.flatnonzero(spectra.target == number)
            known[number] = {images.place_of(spectra, row) for row in rows.tolist()} | set(found[number].superseded)
        for patch, name in itertools.product(sorted(set(patches.values())), images.types):
            own = {"catalog": spectra.catalog, "patch": patch}
            now = targets_on(self._butler, own, current_images(self._butler, name, self._chain, own, self._where))
            for number, old in known.items():
                stale = found[number]
                stale.new = sorted({*stale.new, *(now.get(stale.target, set()) - old)})

    def _compare_calibrations(self, found: list[StaleSpectrum], spectra: PatchInputs, images: _Images) -> None:
        """Find images for which another calibration is valid."""
        codes = spectra.texts["image_id"].codes
        changed: list[dict[str, set[Place]]] = [collections.defaultdict(set) for _ in found]
        for column in CALIBRATION_COLUMNS:
            used = spectra.texts[column]
            self._know_calibrations(used.known)
            # An image has one calibration for all targets.
            pairs, of_row = np.unique(codes.astype(np.int64) * len(used.known) + used.codes, return_inverse=True)
            changes = self._changed_pairs(pairs, column, spectra, images)
            for row in np.flatnonzero(np.array([bool(change) for change in changes])[of_row]).tolist():
                changed[spectra.target[row]][changes[of_row[row]]].add(images.place_of(spectra, row))
        for stale, places in zip(found, changed, strict=True):
            stale.recalibrated = {change: sorted(changed_places) for change, changed_places in places.items()}

    def _changed_pairs(self, pairs: NDArray[np.int64], column: str, spectra: PatchInputs, images: _Images) -> list[str]:
        """Return what has changed for each pair of image and calibration; empty where nothing has."""
        known, lacking = spectra.texts[column].known, spectra.lacking.get(column)
        changes = [""] * len(pairs)
        groups: dict[tuple[str, str], list[tuple[int, Place, uuid.UUID | None]]] = collections.defaultdict(list)
        for number, pair in enumerate(pairs.tolist()):
            image, code = divmod(pair, len(known))
            ref = images.refs[image]
            if ref is None or images.superseded[image]:
                continue
            place = Place.of(ref.dataId)
            if not known[code]:
                if lacking is not None and lacking[image]:
                    groups[REPLACING[column], place.instrument].append((number, place, None))
            elif (calibration := self._calibrations[known[code]]) is None:
                # Of a calibration that was removed the column is known, but not the dataset type.
                changes[number] = f"with another {column.removesuffix('_id')}"
                if column in REPLACING:
                    groups[REPLACING[column], place.instrument].append((number, place, uuid.UUID(known[code])))
            else:
                groups[calibration.datasetType.name, place.instrument].append((number, place, calibration.id))
        for (name, instrument), members in groups.items():
            is_named = any(id_ is not None and self._calibrations[str(id_)] is not None for _, _, id_ in members)
            try:
                index = self._index_of(name)
            except MissingCollectionError:
                # Where there are no calibrations, none is lacking; those that spectra name are somewhere else.
                if is_named:
                    raise
                continue
            if not index.refs and all(id_ is None for _, _, id_ in members):
                continue
            self._know_instants([images.refs[pairs[number] // len(known)] for number, _, _ in members])
            timed = [member for member in members if self._instants[member[1][:2]] is not None]
            detectors = np.array([place.detector for _, place, _ in timed], np.int64)
            instants = np.array([self._instants[place[:2]] for _, place, _ in timed], np.int64)
            valid = index.find_all(instrument, detectors, instants).tolist()
            for (number, _, id_), place_in_index in zip(timed, valid, strict=True):
                if (index.refs[place_in_index].id if place_in_index >= 0 else None) != id_:
                    changes[number] = f"{'with another' if place_in_index >= 0 else 'without a valid'} {name}"
        return changes

    def _know_calibrations(self, texts: Iterable[str]) -> None:
        unknown = [uuid.UUID(text) for text in texts if text and text not in self._calibrations]
        refs = {str(ref.id): ref for ref in self._butler.get_many_datasets(unknown)} if unknown else {}
        self._calibrations |= {str(id_): refs.get(str(id_)) for id_ in unknown}

    def _know_instants(self, images: Iterable[DatasetRef | None]) -> None:
        unknown = [ref for ref in images if ref is not None and Place.of(ref.dataId)[:2] not in self._instants]
        found = instants_of(self._butler, unknown)
        for ref in unknown:
            exposure = Place.of(ref.dataId)[:2]
            self._instants[exposure] = found.get(exposure)


@dataclasses.dataclass(frozen=True)
class _Images:
    """State of the images of a patch, each by its index in ``texts["image_id"].known``.

    Parameters
    ----------
    refs
        The images, `None` where an image was removed.
    superseded, gone
        Places of an image of which another version comes first, or that is no longer in
        the collection of images; empty where this is not so. The instrument of
        an image that was removed is one of those of the spectra.
    is_current
        Whether an image is the newest one of its place.
    types
        Names of their dataset types.
    """

    refs: list[DatasetRef | None]
    superseded: list[list[Place]]
    gone: list[list[Place]]
    is_current: NDArray[np.bool_]
    types: set[str]

    @classmethod
    def of(
        cls, butler: Butler, chain: str, spectra: PatchInputs, newest: Mapping[str, Mapping[Place, DatasetRef]]
    ) -> _Images:
        """Look images up, first among the newest ones.

        Parameters
        ----------
        butler
            The repository.
        chain
            Collection of the images, the newest first.
        spectra
            Inputs of the spectra.
        newest
            The newest images that overlap the patch, by dataset type.
        """
        texts = spectra.texts["image_id"].known
        known = {str(ref.id): ref for images in newest.values() for ref in images.values()}
        if others := [uuid.UUID(text) for text in texts if text and text not in known]:
            known |= {str(ref.id): ref for ref in butler.get_many_datasets(others)}
        refs = [known.get(text) for text in texts]
        types = {ref.datasetType.name for ref in refs if ref is not None}
        # The patch has another region if its targets have moved.
        aside = {}
        for name in types:
            own = (ref.dataId for ref in refs if ref is not None and ref.datasetType.name == name)
            others_at = [data_id for data_id in own if Place.of(data_id) not in newest.get(name, {})]
            aside[name] = images_at(butler, name, chain, others_at)
        superseded: list[list[Place]] = [[] for _ in texts]
        gone: list[list[Place]] = [[] for _ in texts]
        is_current = np.zeros(len(texts), bool)
        for number, (text, ref) in enumerate(zip(texts, refs, strict=True)):
            if ref is not None:
                place = Place.of(ref.dataId)
                name = ref.datasetType.name
                now = newest.get(name, {}).get(place) or aside[name].get(place)
                is_current[number] = now is not None and now.id == ref.id
                if now is None:
                    gone[number] = [place]
                elif now.id != ref.id:
                    superseded[number] = [place]
            elif text:
                possible = [Place(instrument, *spectra.images[number]) for instrument in spectra.instruments or ("",)]
                names = types or newest.keys()
                superseded[number] = [
                    place for place in possible if any(place in newest.get(name, {}) for name in names)
                ]
                gone[number] = [] if superseded[number] else possible[:1]
        return cls(refs, superseded, gone, is_current, types)

    def place_of(self, spectra: PatchInputs, row: int) -> Place:
        """Return the place of the image of a row."""
        number = spectra.texts["image_id"].codes[row]
        ref = self.refs[number]
        return Place(spectra.instruments[0], *spectra.images[number]) if ref is None else Place.of(ref.dataId)


def compare_spectra(
    butler: Butler,
    refs: Iterable[DatasetRef],
    chain: str,
    calibrations: Sequence[str],
    where: str = "",
    *,
    catalogs: str,
    failure: str | None = None,
    measurements: str | None = None,
) -> Iterator[StaleSpectrum]:
    """Compare all spectra with their inputs of today.

    An image is to be measured again if another calibration is valid, or one
    for a value that was taken from the image for want of it (see
    `spherex.provenance.inputs.REPLACING`). Catalogues are compared if the
    spectrum names them.

    Parameters
    ----------
    butler
        The repository.
    refs
        The spectra of patches.
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
    measurements
        Collection of the measurements that the spectra are gathered from. Of
        patches with changes, images without measurements are reported, if the
        collection has any measurements of this type. With `None` they are not
        looked for.

    Yields
    ------
    stale
        Differences of each spectrum; false if there are none.

    Raises
    ------
    UserError
        If a catalogue of the spectra does not exist, or ``where`` does not
        select an image of any spectrum.
    """
    comparison = Comparison(butler, chain, calibrations, where, catalogs, failure, measurements)
    # One patch is in memory at a time.
    for ref in sorted(refs):
        yield from comparison.compare(PatchInputs.read(butler, ref))
    if where and comparison.has_images and not comparison.has_chosen:
        raise UserError(f"No spectrum has an image where {where}: is a name in this query misspelt?")
