"""``butler list-calibrations``: what is certified."""

from __future__ import annotations

__all__ = ["list_calibrations"]

import dataclasses
import fnmatch
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
from lsst.daf.butler import Timespan

from spherex.calibrations import associations_of
from spherex.ingest import IngestError
from spherex.ingest.repository import open_repository

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetAssociation

_NONE = "-"


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
    try:
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
    except IngestError as error:
        raise click.ClickException(str(error)) from None
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


def limits_of(timespan: Timespan) -> tuple[str, str]:
    """Return begin and end as a user gives them, or a dash for no limit."""
    return _text_of(timespan.begin), _text_of(timespan.end)


def _text_of(limit: Any) -> str:
    return _NONE if limit is None else str(limit.tai.isot).rstrip("0").rstrip(".")
