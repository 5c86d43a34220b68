"""``butler check-provenance``: from options to a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from lsst.daf.butler import DatasetRef, InvalidQueryError

from spherex.archive import time_of_uuid
from spherex.detectors import LEVEL2_COLLECTION
from spherex.errors import UserError, counted
from spherex.provenance import OriginReport, check_origins
from spherex.repository import open_repository
from spherex.unknown_names import explain_query

from . import user_errors


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
        Collections of the images; empty for the default.
    instrument
        Name of the instrument of the images.
    where
        Data query for the images.
    threads
        Number of threads that read headers.

    Returns
    -------
    bool
        Whether all images could be read and agree with the repository.
    """
    with open_repository(repo, writeable=False) as butler:
        try:
            refs = butler.query_datasets(
                dataset_type,
                tuple(collections) or (LEVEL2_COLLECTION,),
                find_first=False,
                where=where,
                limit=None,
                explain=False,
                instrument=instrument,
            )
        except InvalidQueryError as error:
            raise click.BadParameter(explain_query(where, error), param_hint="--where") from None
        if not refs:
            raise UserError(
                f"{repo} has no {dataset_type} of {instrument} there: check --instrument, --collections and --where."
            )
        report = check_origins(butler, refs, threads)
    for line in _lines(report):
        click.echo(line)
    return not (report.failures or report.changed or report.replaced or report.mistaken)


def _lines(report: OriginReport) -> Iterator[str]:
    yield f"{counted(report.images, 'image')} read, {len(report.without)} of them without names of calibrations"
    yield from _counts(report)
    # What is wrong comes last, where it is seen.
    for ref, reference, name in report.mistaken:
        origin = f"was made with {reference.type} {reference.id}"
        yield f"contradiction: {_name(ref)} {origin}, which is {name} in this repository"
    for ref in report.changed:
        yield (
            f"changed: {_name(ref)}: its file was replaced in place after it was ingested; ingest it again, and follow "
            "the message"
        )
    for ref, reference in report.replaced:
        yield (
            f"replaced: {_name(ref)} claims to be older than its {reference.type} {reference.id} of "
            f"{time_of_uuid(reference.id):%Y-%m-%d}; download it again if your copy is older"
        )
    for ref, reason in report.failures:
        yield f"failed: {_name(ref)}: {reason}"
    numbers = {
        "replaced in place": len(report.changed),
        "with a younger calibration": len({ref for ref, _ in report.replaced}),
        "with a contradiction": len({ref for ref, _, _ in report.mistaken}),
        "not read": len(report.failures),
    }
    found = ", ".join(f"{number} {what}" for what, number in numbers.items() if number)
    yield f"{counted(report.images + len(report.failures), 'image')} checked: {found or 'nothing is wrong'}"


def _counts(report: OriginReport) -> Iterator[str]:
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
