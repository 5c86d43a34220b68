"""``butler list-calibrations`` and ``butler decertify-calibrations``."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
from lsst.daf.butler import Timespan

from spherex.calibrations import associations_of, decertify, limits_of, timespan_between
from spherex.repository import open_repository

from . import user_errors

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetAssociation


_NONE = "-"


@user_errors()
def list_calibrations(repo: str, collection: str, dataset_type: Sequence[str], detectors: Sequence[int]) -> bool:
    """Print what is certified in a collection.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    collection
        Name of the CALIBRATION collection.
    dataset_type
        Names or patterns of dataset types; none for all.
    detectors
        Detectors wanted; none for all.

    Returns
    -------
    bool
        Whether there is any.
    """
    with open_repository(repo, writeable=False) as butler:
        found = _find(butler, collection, dataset_type, detectors)
        if not found:
            click.echo(f"No such calibration is certified in {collection}.", err=True)
            return False
        from astropy.table import Table

        names = ("type", "detector", "run", "begin (TAI)", "end (TAI)", "file")
        table = Table(rows=[_row(butler, one) for one in found], names=names, dtype=[str] * len(names))
        for line in table.pformat(max_lines=-1, max_width=-1, align="<"):
            click.echo(line.rstrip())
    return True


def _find(
    butler: Butler, collection: str, patterns: Sequence[str], detectors: Sequence[int]
) -> list[DatasetAssociation]:
    names = sorted(
        dataset_type.name
        for dataset_type in butler.registry.queryDatasetTypes(...)
        if dataset_type.isCalibration()
        and (not patterns or any(fnmatch.fnmatchcase(dataset_type.name, pattern) for pattern in patterns))
    )
    found = [one for name in names for one in associations_of(butler, collection, name)]
    return _merged(one for one in found if not detectors or one.ref.dataId.get("detector") in detectors)


def _merged(found: Iterable[DatasetAssociation]) -> list[DatasetAssociation]:
    """Make one of ranges of a dataset that follow each other without a gap."""
    merged: list[DatasetAssociation] = []
    for one in found:
        last = merged[-1] if merged else None
        assert one.timespan is not None, "a certified dataset has a validity range"
        if (
            last is not None
            and last.timespan is not None
            and last.ref.id == one.ref.id
            and last.timespan.end == one.timespan.begin
        ):
            merged[-1] = dataclasses.replace(last, timespan=Timespan(last.timespan.begin, one.timespan.end))
        else:
            merged.append(one)
    return merged


def _row(butler: Butler, one: DatasetAssociation) -> tuple[Any, ...]:
    assert one.timespan is not None, "a certified dataset has a validity range"
    uri = butler.get_many_uris([one.ref], predict=False, allow_missing=True).get(one.ref)
    address = _NONE if uri is None or uri.primaryURI is None else str(uri.primaryURI)
    return (
        one.ref.datasetType.name,
        str(one.ref.dataId.get("detector", _NONE)),
        one.ref.run,
        *limits_of(one.timespan),
        address,
    )


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
    """Take the calibrations of a type out of a range of time.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    dataset_type
        Name of the dataset type.
    collection
        Name of the CALIBRATION collection.
    begin_date, end_date
        Range; None for no limit.
    detectors
        Detectors concerned; none for all.
    dry_run
        Only report.

    Returns
    -------
    bool
        Whether there was any.
    """
    try:
        timespan = timespan_between(begin_date, end_date)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--begin-date, --end-date") from None
    with open_repository(repo, writeable=not dry_run) as butler:
        _check(butler, collection, dataset_type)
        concerned = [
            one.ref.dataId
            for one in associations_of(butler, collection, dataset_type)
            if not detectors or one.ref.dataId.get("detector") in detectors
        ]
        taken = decertify(butler, collection, dataset_type, timespan, concerned, dry_run=dry_run)
    for one in taken:
        assert one.timespan is not None, "a certified dataset has a validity range"
        begin, end = limits_of(one.timespan)
        click.echo(
            f"{'would be taken out' if dry_run else 'taken out'}: {dataset_type} {one.ref.dataId} of {one.ref.run}, "
            f"which was valid from {begin} to {end} (TAI)"
        )
    if not taken:
        click.echo(
            f"No {dataset_type} of that kind is certified there; 'butler list-calibrations {repo} --collection "
            f"{collection}' shows what is.",
            err=True,
        )
    return bool(taken)


def _check(butler: Butler, collection: str, dataset_type: str) -> None:
    from lsst.daf.butler import CollectionType, MissingCollectionError, MissingDatasetTypeError
    from lsst.daf.butler.registry import DatasetTypeExpressionError

    try:
        kind = butler.collections.get_info(collection).type
        is_calibration = butler.get_dataset_type(dataset_type).isCalibration()
    except MissingCollectionError:
        raise click.ClickException(f"There is no collection {collection!r}: see butler query-collections.") from None
    except (MissingDatasetTypeError, DatasetTypeExpressionError):
        raise click.ClickException(
            f"There is no dataset type {dataset_type!r}; give one name in full, as butler list-calibrations shows it."
        ) from None
    if kind is not CollectionType.CALIBRATION:
        raise click.ClickException(
            f"Collection {collection!r} is of type {kind.name}; name the CALIBRATION collection itself."
        )
    if not is_calibration:
        raise click.ClickException(f"Dataset type {dataset_type!r} is no calibration.")
