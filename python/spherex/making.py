"""From a position to a spectrum: the pieces of the other rooms, in their order.

`spectrum` measures in memory. `update_spectra` runs the stock pipelines of the
repository, which record all inputs, and makes only what is new; `get_spectrum`
reads what they have made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
from lsst.daf.butler import (
    Butler,
    CollectionType,
    DatasetNotFoundError,
    FileIntegrityError,
    MissingCollectionError,
    MissingDatasetTypeError,
)

import spherex
from spherex.calibrations import CalibrationIndex, instant_of
from spherex.detectors import (
    CALIBRATION_COLLECTION,
    CATALOG_COLLECTION,
    CATALOG_TYPE,
    LEVEL2_COLLECTION,
    LEVEL2_TYPE,
    SOLID_ANGLE_TYPE,
    SPECTRA_TYPE,
    SPECTRAL_WCS_TYPE,
    SPECTRUM_PLOT_TYPE,
    catalog_collection,
    spectra_collection,
)
from spherex.errors import MOST_NAMES, SearchError, UserError, did_you_mean, first_line, listed
from spherex.provenance import Place, compare_spectra, queries_of_images, queries_of_numbers, queries_of_patches
from spherex.repository import data_query_errors, has_datasets, reading
from spherex.spectra import (
    TARGETS,
    UNREAD,
    catalog_of,
    gather_spectrum,
    has_spectrum,
    motions_of,
    patch_meta,
    spectrum_in,
)
from spherex.targets import target_records
from spherex.tasks import (
    MeasureTargetsConfig,
    MeasureTargetsConnections,
    MeasureTargetsTask,
    uncalibrated_line,
)
from spherex.unknown_names import missing_name, name_of, unknown_name

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import QTable, Table
    from lsst.daf.butler import DatasetRef
    from lsst.resources import ResourcePath

    from spherex.provenance import StaleSpectrum
    from spherex.spectra import Spectrum


_LOG = logging.getLogger(__name__)

_INSTRUMENT = "SPHEREx"
_SPECTRA = "resource://spherex/pipelines/SpectrumPipeline.yaml"
_MEASUREMENT = f"{_SPECTRA}#measurement"
_WITH_IMAGES = (_SPECTRA, _MEASUREMENT)
_CALIBRATIONS = {
    "spectral_wcs_id": ("spectralWcs", SPECTRAL_WCS_TYPE),
    "solid_angle_id": ("solidAngles", SOLID_ANGLE_TYPE),
}
"""Connection and dataset type of the calibration of all images in a column."""

_PICTURES = "resource://spherex/pipelines/SpectrumPlotPipeline.yaml"


def spectrum(
    repo: Butler | str | os.PathLike[str] | ResourcePath,
    target: SkyCoord | Table,
    *,
    collections: str | Sequence[str] = LEVEL2_COLLECTION,
    calibrations: str | Sequence[str] = CALIBRATION_COLLECTION,
    where: str = "",
    config: MeasureTargetsConfig | None = None,
) -> Spectrum:
    """Measure the spectrum of one target in all images of a repository.

    Nothing is written. The fluxes are those of the pipeline: the same task
    measures with the same calibrations.

    Parameters
    ----------
    repo
        The repository, or its path, URI or label.
    target
        Position. With a proper motion it needs an ``obstime``. Or a table as
        for `spherex.measure_targets`: the first row is the target, and the others
        are neighbours, whose light is fitted with that of the target.
    collections
        Collections of the images, one or several. Of an image in several of
        them the first version is measured.
    calibrations
        Collections of the calibrations, one or several in the order of the
        search. Those that do not exist are ignored.
    where
        Data query for the images.
    config
        Settings of the measurement.

    Returns
    -------
    spectrum
        As `spherex.gather_spectrum` returns it.

    Raises
    ------
    spherex.errors.SearchError
        If there is no image at the position.
    spherex.errors.CatalogError
        If the target has no valid position or motion, or a motion without an
        epoch.
    spherex.errors.UserError
        If an image or a calibration cannot be reached, or ``where`` is not a
        data query.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import spherex
    >>> star = SkyCoord(310.1, 40.16, unit="deg")
    >>> spectrum = spherex.spectrum("REPO", star)
    >>> len(spectrum), spectrum["flux"].unit
    (4, Unit("uJy"))
    """
    catalog = catalog_of(target)
    if not isinstance(target, type(catalog)):
        if len(catalog) != 1:
            raise UserError(f"spectrum needs one position, not {len(catalog)}; give neighbours as rows of a table.")
        catalog["name"] = [target.reshape(-1)[0].icrs.to_string("hmsdms", precision=2)]
    name, ra, dec = (catalog[column][0] for column in ("name", "ra", "dec"))
    region = next(target_records("", catalog[:1]))["region"]
    config = config or MeasureTargetsConfig()
    task = MeasureTargetsTask(config=config)
    connections = MeasureTargetsConnections(config=config)
    tables, off_frame = [], 0
    with reading(repo) as butler:
        with data_query_errors(where), butler.query() as query:
            query = query.where("exposure_detector_region.region OVERLAPS circle", bind={"circle": region})
            query = query.where(where, instrument=_INSTRUMENT)
            try:
                refs = sorted(query.datasets(LEVEL2_TYPE, collections, find_first=True).with_dimension_records())
            except (MissingCollectionError, MissingDatasetTypeError):
                refs = []
        if not refs:
            raise SearchError(f"no image of {_names(collections)} is at RA {ra:.6f}, Dec {dec:.6f}.")
        known = _existing(butler, [calibrations] if isinstance(calibrations, str) else calibrations)
        indices = {
            connection: CalibrationIndex(butler.registry, getattr(connections, connection).name, known)
            for connection in connections.prerequisiteInputs
        }
        for ref in refs:
            instant = instant_of(ref.dataId.timespan)
            found = {key: index.find(ref.dataId, instant) for key, index in indices.items() if instant is not None}
            outputs = task.run(
                butler.getDeferred(ref),
                catalog,
                image_ids={
                    "exposure": ref.dataId["exposure"],
                    "detector": ref.dataId["detector"],
                    "image_id": str(ref.id),
                    "image_run": ref.run,
                },
                region=ref.dataId.region,
                **{key: butler.getDeferred(valid.ref) for key, valid in found.items() if valid is not None},
            )
            rows = outputs.measurements[np.asarray(outputs.measurements["target"], dtype=str) == str(name)]
            off_frame += not len(rows)
            tables.append(rows)
    (motion,) = motions_of(catalog[:1])
    meta = {"target": str(name), "ra": float(ra), "dec": float(dec), **motion, "position": "ICRS, degrees"}
    return gather_spectrum(tables, {**meta, "off_frame": off_frame, "code": {"spherex-butler": spherex.__version__}})


def get_spectrum(
    repo: Butler | str | os.PathLike[str] | ResourcePath,
    catalog: str,
    target: str,
    *,
    dataset_type: str = SPECTRA_TYPE,
    collections: Any = None,
) -> QTable:
    """Return the spectrum of one target in a repository.

    Only the rows of the target are read from the file of its patch. If the
    newest spectra of the patch have none, because they were measured in the
    images of another field, those of the next collection are read.

    Parameters
    ----------
    repo
        The repository, or its path, URI or label.
    catalog, target
        Names.
    dataset_type
        ``spectra``, or ``channel_spectra`` for the means in channels.
    collections
        Collections to search; by default those of the Butler ``repo``. Without
        any, ``spectra/<catalog>``, where ``butler make-spectrum`` puts them.

    Returns
    -------
    spectrum
        As `spherex.gather_spectrum` or `spherex.combine_channels` return it.

    Raises
    ------
    UserError
        If the target is not registered, or in no image of these spectra, or if
        there is no such collection or dataset type.

    Examples
    --------
    >>> import spherex
    >>> spectrum = spherex.get_spectrum("DATA", "mine", "warm", collections="spectra")  # doctest: +SKIP
    """
    with reading(repo) as butler:
        records = butler.query_dimension_records(
            "target", data_id={"catalog": catalog, "target": target}, explain=False
        )
        if not records:
            catalogs = [record.name for record in butler.query_dimension_records("catalog", explain=False)]
            if catalog not in catalogs:
                raise UserError(f"There is no catalogue {catalog!r}.{did_you_mean(catalog, catalogs)}")
            names = butler.query_dimension_records("target", catalog=catalog, limit=MOST_NAMES, explain=False)
            similar = did_you_mean(target, [record.name for record in names])
            raise UserError(f"There is no target {target!r} in the catalogue {catalog!r}.{similar}")
        data_id = {"catalog": catalog, "patch": records[0].patch}
        parameters = {"target": target}
        if collections is None:
            collections = butler.collections.defaults or spectra_collection(catalog)
        try:
            patch = butler.get(dataset_type, data_id, parameters=parameters, collections=collections)
        except (MissingCollectionError, MissingDatasetTypeError) as error:
            raise UserError(missing_name(butler, error)) from None
        except DatasetNotFoundError:
            patch = None
        if patch is not None and not len(patch) and target in patch_meta(patch)[TARGETS]:
            for run in butler.collections.query(collections, flatten_chains=True):
                ref = butler.find_dataset(dataset_type, data_id, collections=run)
                if ref is not None and len(rows := butler.get(ref, parameters=parameters)):
                    return spectrum_in(rows, target)
        if patch is None or not has_spectrum(patch, target):
            raise UserError(
                f"the target {target} of the catalogue {catalog} is registered, but {_names(collections)} has no "
                f"{dataset_type} of it: it is in none of the images, or has not been measured there yet. List its "
                f"images by: butler find-images {name_of(butler)} {records[0].ra:.6f} {records[0].dec:.6f}. Measure it "
                f"by: butler make-spectrum {name_of(butler)} {catalog}"
            )
        return spectrum_in(patch, target)


@dataclasses.dataclass
class UpdatedSpectra:
    """What `update_spectra` has made.

    Parameters
    ----------
    runs
        New runs; empty if everything was up to date.
    images
        Number of images that were measured or tried.
    failed
        Number of quanta that have failed, by the label of the task.
    spectra
        The spectra of all patches.
    targets
        Names of all targets with a measurement.
    unseen
        Names of the other targets of the catalogue.
    pictures
        Pictures of their newest spectra, by target.
    unread
        Images that could not be read, or not completely, of all spectra.
    stale
        Number of spectra that are still out of date.
    uncalibrated
        Sentences on images of all spectra for which no calibration is valid,
        of dataset types that the repository contains.
    """

    runs: list[str] = dataclasses.field(default_factory=list)
    images: int = 0
    failed: Counter[str] = dataclasses.field(default_factory=Counter)
    spectra: list[DatasetRef] = dataclasses.field(default_factory=list)
    targets: list[str] = dataclasses.field(default_factory=list)
    unseen: list[str] = dataclasses.field(default_factory=list)
    pictures: dict[str, DatasetRef] = dataclasses.field(default_factory=dict)
    unread: list[DatasetRef] = dataclasses.field(default_factory=list)
    stale: int = 0
    uncalibrated: list[str] = dataclasses.field(default_factory=list)


def update_spectra(
    butler: Butler,
    catalog: str,
    collection: str,
    *,
    failure: str | None = None,
    most_pictures: int = 100,
    measuring: Callable[[int], AbstractContextManager[object]] = contextlib.nullcontext,
) -> UpdatedSpectra:
    """Make the spectra of a catalogue that are missing or out of date, and their pictures.

    An interrupted update leaves its measurements in the collection, and the
    next one goes on from there.

    Parameters
    ----------
    butler
        The repository, writeable.
    catalog
        Name of a registered catalogue.
    collection
        CHAINED collection of the spectra, the newest run first; made with the
        first run if it does not exist.
    failure
        Text in the reasons of failed measurements that are repeated, which may
        be empty; with `None` none is.
    most_pictures
        Largest number of targets of which pictures are made; with more, none
        is made.
    measuring
        Context of the measurement of a given number of images.

    Returns
    -------
    updated
        Summary.

    Raises
    ------
    spherex.errors.UserError
        If there are no images, the catalogue has no targets, or ``collection``
        is a collection of another kind.
    """
    if not _existing(butler, [LEVEL2_COLLECTION]):
        if butler.collections.query(f"{LEVEL2_COLLECTION}/*"):
            raise UserError(unknown_name(butler, "collection", LEVEL2_COLLECTION))
        raise UserError(
            f"the repository has no images. Add some by: butler ingest-level2 {name_of(butler)} LOCATIONS, or by "
            "make-spectrum with --files or --find."
        )
    if collection.partition("/")[0] in {LEVEL2_COLLECTION.partition("/")[0], CATALOG_COLLECTION.partition("/")[0]}:
        raise UserError(f"the collection {collection} is for images or catalogues; choose another name for spectra.")
    try:
        version = butler.find_dataset(CATALOG_TYPE, catalog=catalog, collections=catalog_collection(catalog))
    except (MissingCollectionError, MissingDatasetTypeError):
        version = None
    if version is None:
        raise UserError(f"there is no catalogue {catalog} with targets; register it with butler register-targets.")
    if _existing(butler, [collection]) and butler.collections.get_info(collection).type is not CollectionType.CHAINED:
        raise UserError(f"the collection {collection} is not a CHAINED one; choose another name.")
    update = _Update(butler, version, collection, measuring)
    made = update.spectra()
    # Tables of images that were measured before do not have rows of new targets.
    wanted = [patch for patch in update.targets if patch not in made or update.has_new_targets(made[patch])]
    for query in queries_of_numbers(catalog, wanted):
        # A run for each: images on patches of several queries cannot be in one run twice.
        update.end_run()
        update.run(_MEASUREMENT, query, skip_existing=True)
        update.run(f"{_SPECTRA}#spectra", query)
    stale = update.stale_spectra(failure)
    if lost := [spectrum for spectrum in stale if spectrum.gone]:
        # From its table the rows of an image that is no longer there would be gathered again.
        for query in queries_of_patches(lost):
            update.end_run()
            update.run(_SPECTRA, query)
        stale = update.stale_spectra(failure)
    remaining, tried = stale, set[Place]()
    while remaining:
        update.end_run()
        for query in queries_of_images(remaining):
            update.run(_MEASUREMENT, query)
        for query in queries_of_patches(remaining):
            update.run(f"{_SPECTRA}#spectra", query)
        tried.update(*(spectrum.to_measure for spectrum in remaining))
        stale = update.stale_spectra()
        # Where the newest measurements were removed from the collection, older ones were gathered, such as those of an
        # earlier version of the image. Now these images are known.
        remaining = [spectrum for spectrum in stale if not spectrum.to_measure <= tried]
    for spectrum in stale:
        _LOG.warning("Still out of date: %s of catalogue %s: %s.", spectrum.target, catalog, spectrum.reason)
    update.done.stale = len(stale)
    update.draw(most_pictures)
    return update.done


class _Update:
    """Steps of `update_spectra`.

    Parameters
    ----------
    butler, collection, measuring
        See `update_spectra`.
    version
        The newest version of the catalogue.

    Attributes
    ----------
    targets : `dict` [`int`, `set` [`str`]]
        Names of the targets of each patch, in this version.
    """

    def __init__(
        self,
        butler: Butler,
        version: DatasetRef,
        collection: str,
        measuring: Callable[[int], AbstractContextManager[object]],
    ) -> None:
        self._butler = butler
        self._catalog = str(version.dataId["catalog"])
        self._version = f"Version {version.id} of the catalogue"
        # Targets that are no longer in the catalogue stay registered.
        try:
            names = set(map(str, butler.get(version)["name"]))
        except (FileNotFoundError, FileIntegrityError, ValueError) as error:
            raise UserError(
                f"the table of catalogue {self._catalog} cannot be read ({first_line(error)}): restore its file, or "
                "register the catalogue under another name."
            ) from error
        self.targets: dict[int, set[str]] = {}
        for record in butler.query_dimension_records("target", catalog=self._catalog, limit=None, explain=False):
            if record.name in names:
                self.targets.setdefault(record.patch, set()).add(record.name)
        self._collection = collection
        self._measuring = measuring
        self._calibrations = _existing(butler, [CALIBRATION_COLLECTION])
        self._run = ""
        self.done = UpdatedSpectra()

    def end_run(self) -> None:
        """Make a new run for what follows: the same spectra may be made again."""
        self._run = ""

    def spectra(self) -> dict[int, DatasetRef]:
        """Return the newest spectra of each patch with targets."""
        found = {int(ref.dataId["patch"]): ref for ref in self._datasets(SPECTRA_TYPE)}
        return {patch: ref for patch, ref in found.items() if patch in self.targets}

    def _datasets(self, dataset_type: str) -> list[DatasetRef]:
        try:
            return self._butler.query_datasets(
                dataset_type, self._collection, catalog=self._catalog, limit=None, explain=False
            )
        except (MissingCollectionError, MissingDatasetTypeError):
            return []

    def has_new_targets(self, ref: DatasetRef) -> bool:
        """Return whether the spectra of a patch were made without one of its targets."""
        known = patch_meta(self._butler.get(ref, parameters={"columns": ["target"]}))[TARGETS]
        return not self.targets[int(ref.dataId["patch"])] <= known.keys()

    def stale_spectra(self, failure: str | None = None) -> list[StaleSpectrum]:
        """Return the spectra that are out of date, or have failed measurements with such a reason."""
        found = compare_spectra(
            self._butler,
            self.spectra().values(),
            LEVEL2_COLLECTION,
            self._calibrations,
            catalogs=CATALOG_COLLECTION,
            failure=failure,
            measurements=self._collection,
        )
        return [spectrum for spectrum in found if spectrum]

    def run(self, pipeline: str, where: str, skip_existing: bool = False, **bind: Any) -> None:
        """Run a pipeline. Its run becomes the first one of the collection.

        Parameters
        ----------
        pipeline
            URI of the pipeline.
        where
            Data query.
        skip_existing
            Leave out the quanta with results from the same version of the
            catalogue.
        **bind
            Values of names in ``where``.
        """
        from lsst.pipe.base.mp_graph_executor import MPGraphExecutorError
        from lsst.pipe.base.separable_pipeline_executor import SeparablePipelineExecutor

        collections = self._butler.collections
        earlier = _existing(self._butler, [self._collection])
        skipped = []
        if skip_existing and earlier:
            runs = collections.query_info(earlier, CollectionType.RUN, flatten_chains=True, include_doc=True)
            skipped = [info.name for info in runs if info.doc == self._version]
        run = self._run or f"{self._collection}/{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S.%fZ}"
        if not self._run:
            collections.register(run, doc=self._version)
        # The earlier spectra come last: a chain that pipetask made contains the tables of targets, images and
        # calibrations of that time, too.
        inputs = [catalog_collection(self._catalog), *self._calibrations, LEVEL2_COLLECTION, *earlier]
        executor = SeparablePipelineExecutor(
            Butler.from_config(butler=self._butler, collections=inputs, run=run),
            skip_existing_in=skipped,
            # An image that cannot be read has rows with the reason.
            raise_on_partial_outputs=False,
        )
        query = f"instrument = '{_INSTRUMENT}' AND {where}"
        # With the records, an image whose file is gone is tried like others, and its targets have rows with the reason.
        # Without them, a table of measurements that is gone is left out of the spectra, and its image measured again.
        graph = executor.build_quantum_graph(
            executor.make_pipeline(pipeline), query, bind=bind, attach_datastore_records=pipeline in _WITH_IMAGES
        )
        if not len(graph):
            if not self._run:
                collections.x_remove(run)
            return
        executor.pre_execute_qgraph(graph, register_dataset_types=True, save_versions=not self._run)
        if not self._run:
            # Before the work: the next update goes on from here after an interruption. And not before there is
            # something to do: a chain without runs would be proposed to who mistypes the name of another one.
            collections.register(self._collection, CollectionType.CHAINED)
            collections.prepend_chain(self._collection, run)
            self._run = run
            self.done.runs.append(run)
        images = len(graph.quanta_by_task.get("measureTargets", ()))
        with contextlib.suppress(MPGraphExecutorError), self._measuring(images) if images else contextlib.nullcontext():
            # The log has what has failed, and the numbers below.
            executor.run_pipeline(graph)
        self.done.images += images
        for label, quanta in graph.quanta_by_task.items():
            # Written last, whether there was work to do or not.
            refs = self._butler.query_datasets(f"{label}_metadata", run, limit=None, explain=False)
            self.done.failed[label] += len(quanta.keys() - {ref.dataId for ref in refs})

    def draw(self, most: int) -> None:
        """Draw the spectra without a picture, or with one of older spectra.

        Parameters
        ----------
        most
            Largest number of targets; with more, none is drawn.
        """
        done, newest = self.done, self.spectra()
        done.spectra = sorted(newest.values())
        patches: dict[str, int] = {}
        unread: set[str] = set()
        measured: set[str] = set()
        calibrated: dict[str, set[str]] = {column: set() for column in _CALIBRATIONS}
        for patch, ref in newest.items():
            columns = ["target", "image_id", "reason", "time", *_CALIBRATIONS]
            rows = self._butler.get(ref, parameters={"columns": columns})
            patches |= dict.fromkeys(self.targets[patch].intersection(rows["target"].unique().to_pylist()), patch)
            is_unread = pc.match_substring_regex(rows["reason"], UNREAD)
            unread.update(rows.filter(is_unread)["image_id"].to_pylist())
            # Of an image that could not be measured at all nothing is recorded: not the time, and no calibration.
            measured.update(rows.filter(pc.is_finite(rows["time"]))["image_id"].unique().to_pylist())
            for column, images in calibrated.items():
                images.update(rows.filter(pc.not_equal(rows[column], ""))["image_id"].unique().to_pylist())
        done.unread = sorted(self._butler.get_many_datasets(sorted(unread)))
        for column, (connection, dataset_type) in _CALIBRATIONS.items():
            missing = measured - calibrated[column]
            if missing and has_datasets(self._butler, dataset_type, "*"):
                done.uncalibrated.append(uncalibrated_line(connection, dataset_type, len(missing), len(measured)))
        done.targets = sorted(patches)
        done.unseen = sorted(set().union(*self.targets.values()) - patches.keys())
        if not patches:
            return
        # The newest run is the first one.
        runs = self._butler.collections.query(self._collection, flatten_chains=True)
        age = {run: place for place, run in enumerate(runs)}

        def pictures() -> dict[str, DatasetRef]:
            refs = {str(ref.dataId["target"]): ref for ref in self._datasets(SPECTRUM_PLOT_TYPE)}
            return {
                name: refs[name]
                for name, patch in patches.items()
                # That of a run made just now is of the newest spectra.
                if name in refs and age.get(refs[name].run, -1) <= age[newest[patch].run]
            }

        done.pictures = pictures()
        wanted = [name for name in done.targets if name not in done.pictures]
        if wanted and len(patches) <= most:
            self.run(_PICTURES, f"catalog = '{self._catalog}' AND target IN (targets)", targets=wanted)
            done.pictures = pictures()


def _names(collections: Any) -> str:
    """Return the names of collections for a message."""
    return collections if isinstance(collections, str) else listed([*collections])


def _existing(butler: Butler, collections: Iterable[str]) -> list[str]:
    """Return those of some collections that exist."""
    found = []
    for name in collections:
        with contextlib.suppress(MissingCollectionError):
            butler.collections.get_info(name)
            found.append(name)
    return found
