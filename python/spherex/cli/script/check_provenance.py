"""``butler check-provenance``: images and the calibrations they were made with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from lsst.daf.butler import Butler, DatasetRef, InvalidQueryError, MissingCollectionError, MissingDatasetTypeError

from spherex.archive import time_of_uuid
from spherex.detectors import LEVEL2_COLLECTION
from spherex.errors import Remark, counted
from spherex.provenance import OriginReport, check_origins
from spherex.repository import open_repository

from . import user_errors

_UNNAMED = Remark("names no calibration", "name no calibration")


@user_errors()
def check_provenance(
    repo: str, dataset_type: str, collections: Sequence[str], instrument: str, where: str, threads: int
) -> bool:
    """Compare images with the ingested calibrations.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    dataset_type
        Name of the dataset type of the images.
    collections
        Collections with them; none for the default.
    instrument
        Name of their instrument.
    where
        Expression that chooses among them.
    threads
        Number of threads that read headers.

    Returns
    -------
    bool
        Whether all images could be read and are what they say.
    """
    with open_repository(repo, writeable=False) as butler:
        refs = _find(butler, dataset_type, tuple(collections) or (LEVEL2_COLLECTION,), instrument, where)
        if not refs:
            raise click.ClickException(
                f"{repo} has no {dataset_type} of {instrument} there: check --instrument, --collections and --where."
            )
        report = check_origins(butler, refs, threads)
    for line in _lines(report):
        click.echo(line)
    return not (report.failures or report.reissued or report.mistaken)


def _find(
    butler: Butler, dataset_type: str, collections: Sequence[str], instrument: str, where: str
) -> list[DatasetRef]:
    try:
        return butler.query_datasets(
            dataset_type,
            collections,
            find_first=False,
            where=where,
            limit=None,
            explain=False,
            instrument=instrument,
        )
    except (MissingCollectionError, MissingDatasetTypeError) as error:
        raise click.ClickException(f"{_sentence(error)} Ingest the images first, or name others.") from None
    except InvalidQueryError as error:
        raise click.BadParameter(_sentence(error), param_hint="--where") from None


def _sentence(error: Exception) -> str:
    """Return the first line of a message of the Butler, some of which end with a full stop."""
    # A KeyError quotes its message.
    text = str(error.args[0] if isinstance(error, KeyError) else error)
    return text.splitlines()[0].rstrip(".") + "."


def _lines(report: OriginReport) -> Iterator[str]:
    for ref, reason in report.failures:
        yield f"failed: {_name(ref)}: {reason}"
    for ref, one, name in report.mistaken:
        yield f"contradiction: {_name(ref)} was made with {one.type} {one.id}, which is a {name} here"
    for ref, one in report.reissued:
        yield (
            f"made anew: {_name(ref)} claims to be older than its {one.type} {one.id} of "
            f"{time_of_uuid(one.id):%Y-%m-%d}; get a fresh copy if yours is from before"
        )
    yield f"{counted(report.images, 'image')} read, {_UNNAMED.of(len(report.without))}"
    missing = {name for name, _, _ in report.unresolved}
    for name in sorted(report.resolved.keys() | missing):
        absent = {key: count for key, count in report.unresolved.items() if key[0] == name}
        total = report.resolved[name] + sum(absent.values())
        yield f"{name}: {report.resolved[name]} of {total} references resolved"
        for (_, detector, id_), count in sorted(absent.items(), key=lambda item: (item[0][1] or 0, item[0][2])):
            time = time_of_uuid(id_)
            made = f", made {time:%Y-%m-%d}" if time is not None else ""
            where = "" if detector is None else f", detector {detector}"
            yield f"  not ingested: {id_}{where}{made}: {counted(count, 'image')}"


def _name(ref: DatasetRef) -> str:
    return f"{ref.datasetType.name} {dict(ref.dataId.required)} of {ref.run}"
