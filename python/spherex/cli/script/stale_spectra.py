"""``butler stale-spectra``: from options to a list."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

import click
from lsst.daf.butler import CollectionType

from spherex.detectors import CALIBRATION_COLLECTION, CHANNEL_SPECTRA_TYPE, SPECTRA_TYPE
from spherex.errors import UserError, counted, listed
from spherex.repository import data_query_errors, open_repository

from . import user_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astropy.table import Table
    from lsst.daf.butler import Butler, DatasetRef

    from spherex.provenance import StaleSpectrum


@user_errors()
def stale_spectra(
    repo: str,
    collection: str,
    dataset_type: str,
    images: str,
    calibrations: Sequence[str],
    catalogs: str,
    where: str,
    failed: bool,
    reason: str | None,
    form: str,
    print_query: str | None,
) -> None:
    """Print the spectra that are out of date, and why.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    collection
        Collection of the spectra.
    dataset_type
        Dataset type of the spectra.
    images
        Collection of the images.
    calibrations
        Collections of the calibrations; empty for the default.
    catalogs
        Collection of the catalogue, with ``{catalog}`` in place of its name.
    where
        Data query with which the spectra were made.
    failed
        Whether spectra with failed measurements are listed, too.
    reason
        Text in the reason of such a failure; `None` for any.
    form
        ``text`` or ``ecsv``.
    print_query
        ``patches`` or ``images``: print data queries instead, one in a line.
    """
    from spherex.provenance import compare_spectra, queries_of_images, queries_of_patches

    if reason is not None and not failed:
        raise click.UsageError("--reason is for --failed.")
    failure = (reason or "") if failed else None
    with open_repository(repo, writeable=False) as butler:
        refs = find_spectra(butler, repo, collection, dataset_type)
        if dataset_type == CHANNEL_SPECTRA_TYPE:
            raise UserError(f"{dataset_type!r} are means of {SPECTRA_TYPE!r}: compare these.")
        chosen = tuple(calibrations) or (CALIBRATION_COLLECTION,)
        number, stale = 0, []
        for spectrum in compare_spectra(
            butler, refs, images, chosen, where, catalogs=catalogs, failure=failure, measurements=collection
        ):
            number += 1
            if spectrum:
                stale.append(spectrum)
        if print_query is not None:
            queries = (queries_of_patches if print_query == "patches" else queries_of_images)(stale)
    if print_query is not None:
        for query in queries:
            click.echo(query)
        if lost := [spectrum for spectrum in stale if spectrum.gone]:
            click.echo(
                f"{len(lost)} of these spectra contain images that are no longer in {images}: #spectra would gather "
                "their measurements again. Remake these spectra with the whole pipeline, or with make-spectrum.",
                err=True,
            )
        # New images were never measured, and those that are superseded are measured again in any case.
        changed = set().union(*({*spectrum.new, *spectrum.superseded} for spectrum in stale))
        removed = set().union(*(spectrum.unmeasured for spectrum in stale)) - changed
        if print_query == "patches" and removed:
            click.echo(
                f"The measurements of {counted(len(removed), 'image')} of these patches are no longer in "
                f"{collection}. Before #spectra, measure what --print-query images selects; otherwise the spectra lack "
                "these images.",
                err=True,
            )
    elif form == "ecsv":
        _table_of(stale).write(sys.stdout, format="ascii.ecsv")
    elif stale:
        for line in _table_of(stale)["catalog", "target", "run", "reason"].pformat(
            max_lines=-1, max_width=-1, align="<"
        ):
            click.echo(line.rstrip())
    if unknown := sorted({spectrum.unknown_type for spectrum in stale} - {""}):
        click.echo(
            f"{collection} does not have any {listed(unknown)}: images without measurements are not listed.", err=True
        )
    click.echo(
        f"{len(stale)} of {number} spectra are out of date. To look for image files that are missing or were replaced: "
        f"butler check-provenance {repo}",
        err=True,
    )


def find_spectra(butler: Butler, repo: str, collection: str, dataset_type: str, where: str = "") -> list[DatasetRef]:
    """Return the spectra of patches in a collection.

    Parameters
    ----------
    butler
        The repository.
    repo
        The repository, for messages.
    collection
        Collection of the spectra.
    dataset_type
        Their dataset type.
    where
        Data query for the patches.

    Raises
    ------
    UserError
        If there are none, or the dataset type is of other data.
    """
    find = functools.partial(butler.query_datasets, dataset_type, limit=None, explain=False)
    if set(butler.get_dataset_type(dataset_type).dimensions.required) != {"catalog", "patch"}:
        raise UserError(
            f"{dataset_type!r} is not a dataset type of spectra of patches, such as {SPECTRA_TYPE} and "
            f"{CHANNEL_SPECTRA_TYPE}."
        )

    def catalogs() -> list[str]:
        return sorted({str(ref.dataId["catalog"]) for ref in find(collection, find_first=False)})

    with data_query_errors(where, catalogs=catalogs):
        refs = find(collection, where=where)
    if refs:
        return refs
    missing = f"{repo} has no {dataset_type} in {collection}"
    if where and (others := catalogs()):
        raise UserError(f"{missing} where {where}. Those in it are of the catalogues: {', '.join(others)}.")
    if runs := {ref.run for ref in find("*", find_first=False)}:
        chains = butler.collections.query_info("*", CollectionType.CHAINED)
        found = [info.name for info in chains if runs.intersection(info.children)]
        raise UserError(f"{missing}. They are in: {', '.join(sorted(found or runs))}.")
    raise UserError(f"{missing}. Make them by: butler make-spectrum {repo} NAME")


def _table_of(stale: Sequence[StaleSpectrum]) -> Table:
    from astropy.table import Table

    names = {"catalog": str, "target": str, "patch": int, "run": str, "id": str, "reason": str}
    numbers = ("superseded", "gone", "new", "recalibrated", "moved", "failed", "unmeasured")
    rows = [
        (
            spectrum.ref.dataId["catalog"],
            spectrum.target,
            spectrum.ref.dataId["patch"],
            spectrum.ref.run,
            str(spectrum.ref.id),
            spectrum.reason,
            len(spectrum.superseded),
            len(spectrum.gone),
            len(spectrum.new),
            len({place for places in spectrum.recalibrated.values() for place in places}),
            len(spectrum.moved),
            len(spectrum.failed),
            len(spectrum.unmeasured),
        )
        for spectrum in stale
    ]
    names |= dict.fromkeys(numbers, int)
    return Table(rows=rows or None, names=list(names), dtype=list(names.values()))
