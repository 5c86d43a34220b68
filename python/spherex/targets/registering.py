"""Registration of targets in a repository."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spherex.detectors import CATALOG_TYPE, PATCH_TARGETS_TYPE, ROWS_OF_A_GROUP, catalog_collection
from spherex.errors import CatalogError, counted
from spherex.repository import quiet_ingest
from spherex.unknown_names import name_of

from .checking import unequal

if TYPE_CHECKING:
    from astropy.table import Table
    from lsst.daf.butler import Butler, DatasetType, DimensionRecord
    from lsst.sphgeom import Circle, Pixelization


_REACH = 62.0
"""Radius of the region of a target without motion (arcsec): the regions of images,
from the corners of frames, are exact to 10 pixels of 6.15 arcsec.
"""

_PATCH_LEVEL = 6
"""HTM level of patches: 1.2 square degrees each. The patch of a target depends
on its position alone, so that other targets never change it.
"""

_MISSION = (2025.0, 2032.0)
"""Years of possible observations: launch, and three times the two years of the prime mission."""

_MILLIARCSEC = 1e-3


def target_records(catalog: str, table: Table) -> Iterator[dict[str, Any]]:
    """Yield the dimension records of the targets of a catalogue.

    Parameters
    ----------
    catalog
        Name of the catalogue.
    table
        Columns name, ra, dec, and optionally pmra, pmdec and ref_epoch.

    Yields
    ------
    record
        For `lsst.daf.butler.registry.Registry.insertDimensionData`, with a region
        that contains the target during the mission.
    """
    from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d

    names = np.asarray(table["name"], dtype=str).tolist()
    ra, dec = (np.asarray(table[name], dtype=float).tolist() for name in ("ra", "dec"))
    # In arcsec.
    radii = np.full(len(table), _REACH)
    if "pmra" in table.colnames:
        pmra, pmdec, epoch = (np.asarray(table[name], dtype=float) for name in ("pmra", "pmdec", "ref_epoch"))
        years = np.max([np.abs(year - epoch) for year in _MISSION], axis=0)
        radii += np.nan_to_num(np.hypot(pmra, pmdec) * years * _MILLIARCSEC)
    for name, lon, lat, radius in zip(names, ra, dec, radii.tolist(), strict=True):
        position = UnitVector3d(LonLat.fromDegrees(lon, lat))
        yield {
            "catalog": catalog,
            "patch": _patches().index(position),
            "name": name,
            "ra": lon,
            "dec": lat,
            "region": Circle(position, Angle(math.radians(radius / 3600))),
        }


@functools.cache
def _patches() -> Pixelization:
    from lsst.sphgeom import HtmPixelization

    return HtmPixelization(_PATCH_LEVEL)


def patch_records(catalog: str, regions: Mapping[int, Sequence[Circle]]) -> Iterator[dict[str, Any]]:
    """Yield the records of patches.

    Parameters
    ----------
    catalog
        Name of the catalogue.
    regions
        Regions of all targets of each patch, by its number.

    Yields
    ------
    record
        For `lsst.daf.butler.registry.Registry.insertDimensionData`, with a
        circle that contains the regions of the targets.
    """
    for patch, members in regions.items():
        region = functools.reduce(lambda one, other: one.expandedTo(other), members) if members else None
        yield {"catalog": catalog, "id": patch, "targets": len(members), "region": region}


_STORAGE_CLASS = "AstropyParquet"
_PATCHES_FORMATTER = "spherex.formatters.tables.PatchTargetsFormatter"
_LONGEST_DESC = 256
_CHUNK = 5000
"""Records of one call of the Butler; all are inserted in one transaction."""


@dataclasses.dataclass(frozen=True)
class Registration:
    """Summary of a registration.

    Parameters
    ----------
    new, changed, same
        Numbers of targets.
    gone
        Number of registered targets that are no longer in the file.
    run
        RUN collection of the new dataset; empty if nothing has changed.
    """

    new: int
    changed: int
    same: int
    gone: int
    run: str = ""

    @property
    def is_nothing(self) -> bool:
        """Whether nothing has changed."""
        return not self.run


def register_catalog(
    butler: Butler, name: str, table: Table, desc: str, *, update: bool = False, dry_run: bool = False
) -> Registration:
    """Register targets and store their catalogue, all or nothing.

    Parameters
    ----------
    butler
        The repository.
    name
        Name of the catalogue.
    table
        As `read_catalog` returns it, without problems.
    desc
        Source of the catalogue.
    update
        Whether an existing catalogue may change.
    dry_run
        Change nothing.

    Returns
    -------
    registration
        Summary.

    Raises
    ------
    CatalogError
        If the catalogue exists with other targets and ``update`` is false,
        another process registers it at the same time, or the dataset type of
        catalogues exists with another definition.
    """
    _check_dataset_types(butler)
    chain = catalog_collection(name)
    runs = _runs(butler, chain)
    known: dict[str, DimensionRecord] = {}
    if butler.query_dimension_records("catalog", where="catalog = name", bind={"name": name}, explain=False):
        records = butler.query_dimension_records("target", catalog=name, limit=None, explain=False)
        known = {record.name: record for record in records}
    names = np.asarray(table["name"], dtype=str).tolist()
    new = set(names) - known.keys()
    changed = {
        record["name"]
        for record in (target_records(name, table) if known else ())
        if (old := known.get(record["name"])) is not None
        and any(getattr(old, field) != record[field] for field in ("ra", "dec", "region"))
    }
    counts = Registration(len(new), len(changed), len(names) - len(new) - len(changed), len(known.keys() - set(names)))
    present = _catalog(butler, name, chain)
    if present is not None and not new and not changed and _is_same_table(present, table):
        return counts
    if known and not update and (new or changed or present is not None):
        raise CatalogError(
            f"catalogue {name} exists with other rows ({counted(counts.new, 'new target')}, {counts.changed} moved, "
            f"{counts.gone} no longer in the file); replace them by: butler register-targets {name_of(butler)} "
            f"{name} FILE --update, or choose another name."
        )
    run = f"{chain}/{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S.%fZ}"
    if not dry_run:
        different = new | changed

        def wanted() -> Iterator[dict[str, Any]]:
            # Made twice: a list of all would take more memory than the table.
            return (record for record in target_records(name, table) if record["name"] in different)

        patches = _changed_patches(name, wanted(), known) if "patch" in butler.dimensions.dimensions.names else None
        _write(butler, name, wanted(), patches, bool(changed), table, desc, run, runs)
    return dataclasses.replace(counts, run=run)


def _changed_patches(
    catalog: str, wanted: Iterable[dict[str, Any]], known: Mapping[str, DimensionRecord]
) -> Iterator[dict[str, Any]]:
    """Return the records of the patches whose targets change."""
    targets = {name: (record.patch, record.region) for name, record in known.items()}
    regions: dict[int, list[Circle]] = {}
    for record in wanted:
        new = (record["patch"], record["region"])
        for patch, _ in (new, targets.get(record["name"], new)):
            regions[patch] = []
        targets[record["name"]] = new
    for patch, region in targets.values():
        if patch in regions:
            regions[patch].append(region)
    return patch_records(catalog, regions)


def _write(
    butler: Butler,
    name: str,
    wanted: Iterable[dict[str, Any]],
    patches: Iterator[dict[str, Any]] | None,
    replace: bool,
    table: Table,
    desc: str,
    run: str,
    runs: tuple[str, ...],
) -> None:
    from lsst.daf.butler import CollectionType

    chain, records = catalog_collection(name), iter(wanted)
    for dataset_type in _dataset_types(butler):
        butler.registry.registerDatasetType(dataset_type)
    butler.collections.register(chain, CollectionType.CHAINED)
    butler.collections.register(run)
    try:
        with butler.transaction():
            # First, since it locks the chain until the end of the transaction: the records of another process would
            # be of another table.
            butler.collections.prepend_chain(chain, run)
            if _runs(butler, chain) != (run, *runs):
                raise CatalogError(
                    "Nothing is registered: another process has just registered targets of this catalogue. Run the "
                    "same command again."
                )
            butler.registry.syncDimensionData("catalog", {"name": name, "desc": desc[:_LONGEST_DESC]}, update=True)
            if patches is None:
                # Universe version 1 has no patches.
                records = ({key: value for key, value in record.items() if key != "patch"} for record in records)
            else:
                while chunk := list(itertools.islice(patches, _CHUNK)):
                    butler.registry.insertDimensionData("patch", *chunk, replace=True)
            while chunk := list(itertools.islice(records, _CHUNK)):
                butler.registry.insertDimensionData("target", *chunk, replace=replace)
            butler.put(table, CATALOG_TYPE, catalog=name, run=run)
            if patches is not None:
                _ingest_patches(butler, name, table, run)
    except BaseException:
        # Transactions do not include collections.
        with contextlib.suppress(Exception):
            butler.collections.x_remove(run)
        raise


def _runs(butler: Butler, chain: str) -> tuple[str, ...]:
    from lsst.daf.butler import MissingCollectionError

    try:
        return butler.collections.get_info(chain).children
    except MissingCollectionError:
        return ()


def _ingest_patches(butler: Butler, name: str, table: Table, run: str) -> None:
    """Store the targets of all patches as datasets of one file."""
    import pyarrow as pa
    import pyarrow.parquet
    from lsst.daf.butler import DatasetRef, FileDataset
    from lsst.resources import ResourcePath

    records = list(target_records(name, table))
    columns: dict[str, Any] = {key: [record[key] for record in records] for key in ("patch", "name", "ra", "dec")}
    if "pmra" in table.colnames:
        columns |= {key: np.asarray(table[key], dtype=float) for key in ("pmra", "pmdec", "ref_epoch")}
    _, dataset_type = _dataset_types(butler)
    # A patch that has lost its targets, too: it would have those of an earlier version otherwise.
    patches = butler.query_dimension_records("patch", catalog=name, limit=None, explain=False)
    refs = [DatasetRef(dataset_type, record.dataId, run) for record in patches]
    with ResourcePath.temporary_uri(suffix=".parq") as file:
        rows = pa.table(columns).sort_by("patch")
        pyarrow.parquet.write_table(rows, file.ospath, row_group_size=ROWS_OF_A_GROUP)
        with quiet_ingest():
            butler.ingest(FileDataset(file, refs, formatter=_PATCHES_FORMATTER), transfer="copy")


def _dataset_types(butler: Butler) -> tuple[DatasetType, ...]:
    from lsst.daf.butler import DatasetType

    names = {CATALOG_TYPE: ("catalog",), PATCH_TARGETS_TYPE: ("catalog", "patch")}
    # Universe version 1 has no patches.
    return tuple(
        DatasetType(name, dimensions, _STORAGE_CLASS, universe=butler.dimensions)
        for name, dimensions in names.items()
        if set(dimensions) <= butler.dimensions.dimensions.names
    )


def _check_dataset_types(butler: Butler) -> None:
    from lsst.daf.butler import MissingDatasetTypeError

    for dataset_type in _dataset_types(butler):
        try:
            found = butler.get_dataset_type(dataset_type.name)
        except MissingDatasetTypeError:
            continue
        if found != dataset_type:
            raise CatalogError(
                f"the repository has a dataset type {found.name} of another kind ({found}): remove it with "
                "butler remove-dataset-type, or use another repository."
            )


def _catalog(butler: Butler, name: str, chain: str) -> Table | None:
    from lsst.daf.butler import MissingCollectionError, MissingDatasetTypeError

    try:
        ref = butler.find_dataset(CATALOG_TYPE, catalog=name, collections=chain)
    except (MissingCollectionError, MissingDatasetTypeError):
        return None
    return None if ref is None else butler.get(ref)


def _is_same_table(first: Table, second: Table) -> bool:
    if first.colnames != second.colnames or len(first) != len(second):
        return False
    return all(
        str(first[name].unit) == str(second[name].unit)
        and first[name].shape == second[name].shape
        and not unequal(first[name], second[name]).any()
        for name in first.colnames
    )
