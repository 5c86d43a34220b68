"""``butler decertify-calibrations``: calibrations out of a range of time."""

from __future__ import annotations

__all__ = ["decertify_calibrations"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from spherex.calibrations import associations_of, decertify, timespan_between
from spherex.ingest import IngestError
from spherex.ingest.repository import open_repository

from .list_calibrations import limits_of

if TYPE_CHECKING:
    from lsst.daf.butler import Butler


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
    try:
        with open_repository(repo, writeable=not dry_run) as butler:
            _check(butler, collection, dataset_type)
            concerned = [
                one.ref.dataId
                for one in associations_of(butler, collection, dataset_type)
                if not detectors or one.ref.dataId.get("detector") in detectors
            ]
            taken = decertify(butler, collection, dataset_type, timespan, concerned, dry_run=dry_run)
    except IngestError as error:
        raise click.ClickException(str(error)) from None
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
