"""``butler list-calibrations`` and ``butler decertify-calibrations``."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from lsst.daf.butler import CollectionType, MissingCollectionError, Timespan

from spherex.calibrations import (
    CertifiedDataset,
    certified_datasets,
    decertify,
    limits_of,
    range_text,
    timespan_between,
)
from spherex.detectors import DETECTOR_IDS
from spherex.errors import UserError, did_you_mean, listed
from spherex.repository import open_repository
from spherex.unknown_names import unknown_name

from . import user_errors

if TYPE_CHECKING:
    from lsst.daf.butler import Butler


_NONE = "-"


@user_errors()
def list_calibrations(repo: str, collection: str, dataset_type: Sequence[str], detectors: Sequence[int]) -> bool:
    """Print the datasets that are certified in a collection.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    collection
        Name of the CALIBRATION collection, or of a chain.
    dataset_type
        Names or patterns of dataset types; empty for all.
    detectors
        Detectors; empty for all.

    Returns
    -------
    bool
        Whether there are any.
    """
    stock_method = "butler.registry.queryDatasetAssociations(TYPE, collections=COLLECTION)"
    with open_repository(repo, writeable=False, stock_method=stock_method) as butler:
        names = sorted(
            kind.name
            for kind in butler.registry.queryDatasetTypes(...)
            if kind.isCalibration()
            and (not dataset_type or any(fnmatch.fnmatchcase(kind.name, pattern) for pattern in dataset_type))
        )
        ranges = [certified for name in names for certified in certified_datasets(butler, collection, name)]
        found: list[CertifiedDataset] = []
        for ref, timespan in (certified for certified in ranges if _is_of(certified, detectors)):
            last = found[-1] if found else None
            # Ranges of a dataset that follow each other without a gap are one.
            if last is not None and last.ref.id == ref.id and last.timespan.end == timespan.begin:
                found[-1] = CertifiedDataset(ref, Timespan(last.timespan.begin, timespan.end))
            else:
                found.append(CertifiedDataset(ref, timespan))
        if not found:
            click.echo(_why_none(butler, repo, collection, dataset_type, detectors), err=True)
            return False
        from astropy.table import Table

        rows = []
        for ref, timespan in found:
            uris = butler.get_many_uris([ref], predict=False, allow_missing=True).get(ref)
            uri = _NONE if uris is None or uris.primaryURI is None else str(uris.primaryURI)
            detector = str(ref.dataId.get("detector", _NONE))
            rows.append((ref.datasetType.name, detector, ref.run, *limits_of(timespan), uri))
        columns = ("type", "detector", "run", "begin (TAI)", "end (TAI)", "file")
        table = Table(rows=rows, names=columns, dtype=[str] * len(columns))
        for line in table.pformat(max_lines=-1, max_width=-1, align="<"):
            click.echo(line.rstrip())
    return True


def _why_none(butler: Butler, repo: str, collection: str, dataset_type: Sequence[str], detectors: Sequence[int]) -> str:
    """Return why there is nothing to list, and what to do."""
    if collection not in butler.collections.query("*", include_chains=True):
        return _no_collection(butler, collection, repo)
    if unknown := sorted(set(detectors) - set(DETECTOR_IDS)):
        return f"There is no detector {unknown[0]}: they are {DETECTOR_IDS[0]} to {DETECTOR_IDS[-1]}."
    known = [kind.name for kind in butler.registry.queryDatasetTypes(...) if kind.isCalibration()]
    hint = "".join(did_you_mean(name, known) for name in dataset_type)
    return f"No such calibration is certified in {collection}.{hint or _collection_to_try(butler, collection, repo)}"


def _no_collection(butler: Butler, collection: str, repo: str) -> str:
    return f"There is no collection {collection!r} in {repo}.{_collection_to_try(butler, collection, repo)}"


def _collection_to_try(butler: Butler, collection: str, repo: str) -> str:
    """Return a sentence on the collections with calibrations, or on how to make one, with a blank before it."""
    kinds = {CollectionType.CALIBRATION, CollectionType.CHAINED}
    infos = {info.name: info for info in butler.collections.query_info("*", kinds, include_summary=True)}
    if collection not in infos and (similar := did_you_mean(collection, infos)):
        return similar
    others = sorted(
        name
        for name, info in infos.items()
        if info.type is CollectionType.CALIBRATION and info.dataset_types and name != collection
    )
    if not others:
        return f" Add calibrations by: butler ingest-calibrations {repo} LOCATIONS"
    return f" Choose another CALIBRATION collection: {' or '.join(f'--collection {other}' for other in others)}"


def _is_of(certified: CertifiedDataset, detectors: Sequence[int]) -> bool:
    return not detectors or certified.ref.dataId.get("detector") in detectors


@user_errors()
def decertify_calibrations(
    repo: str,
    dataset_type: str,
    collection: str,
    begin_date: str | None,
    end_date: str | None,
    detectors: Sequence[int],
    dry_run: bool,
) -> bool:
    """Decertify the calibrations of a type in a range of time.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    dataset_type
        Name of the dataset type.
    collection
        Name of the CALIBRATION collection.
    begin_date, end_date
        Range; `None` for no limit.
    detectors
        Detectors; empty for all.
    dry_run
        Only report.

    Returns
    -------
    bool
        Whether the collection has, or had, calibrations of this type and these
        detectors. Then none of them is valid in the range.
    """
    try:
        timespan = timespan_between(begin_date, end_date)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--begin-date, --end-date") from None
    stock_method = "butler.registry.decertify(COLLECTION, TYPE, TIMESPAN)"
    with open_repository(repo, writeable=not dry_run, stock_method=stock_method) as butler:
        _check(butler, repo, collection, dataset_type)
        valid = [
            certified
            for certified in certified_datasets(butler, collection, dataset_type)
            if _is_of(certified, detectors)
        ]
        data_ids = [certified.ref.dataId for certified in valid]
        decertified = decertify(butler, collection, dataset_type, timespan, data_ids, dry_run=dry_run)
        # The Butler remembers the dataset types of a collection, but not what was decertified.
        info = butler.collections.get_info(collection, include_summary=True)
        is_known = dataset_type in (info.dataset_types or ())
        known = {
            ref.dataId.get("detector")
            for ref in butler.query_datasets(dataset_type, "*", find_first=False, limit=None, explain=False)
        }
    verb = "would be decertified" if dry_run else "decertified"
    for ref, span in decertified:
        click.echo(f"{verb}: {dataset_type} {ref.dataId} of {ref.run}, which was valid {range_text(span)}")
    if decertified:
        return True
    is_done = is_known and known.issuperset(detectors)
    owner = f" of detector {', '.join(map(str, detectors))}" if detectors else ""
    ranges = [f"detector {ref.dataId.get('detector', _NONE)} {range_text(span)}" for ref, span in valid]
    click.echo(
        f"{'Nothing to do: ' if is_done else ''}{collection} has no {dataset_type}{owner} that is valid "
        f"{range_text(timespan)}. Valid: {listed(ranges) if ranges else 'none'}. "
        f"butler list-calibrations {repo} --collection {collection}",
        err=not is_done,
    )
    return is_done


def _check(butler: Butler, repo: str, collection: str, dataset_type: str) -> None:
    """Refuse names that are not a CALIBRATION collection and a calibration dataset type."""
    from lsst.daf.butler.registry import DatasetTypeExpressionError

    try:
        kind = butler.collections.get_info(collection).type
    except MissingCollectionError:
        raise UserError(_no_collection(butler, collection, repo)) from None
    try:
        is_calibration = butler.get_dataset_type(dataset_type).isCalibration()
    except DatasetTypeExpressionError:
        raise UserError(unknown_name(butler, "dataset type", dataset_type)) from None
    if kind is not CollectionType.CALIBRATION:
        raise UserError(f"Collection {collection!r} is of type {kind.name}; use the CALIBRATION collection itself.")
    if not is_calibration:
        raise UserError(f"Dataset type {dataset_type!r} is not a calibration.")
