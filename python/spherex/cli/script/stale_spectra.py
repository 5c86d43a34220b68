"""``butler stale-spectra``: from options to a list."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click
from lsst.daf.butler import InvalidQueryError, MissingCollectionError, MissingDatasetTypeError

from spherex.detectors import CALIBRATION_COLLECTION
from spherex.errors import UserError, first_line
from spherex.repository import open_repository

from . import user_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    with spectra_errors(repo, dataset_type, where), open_repository(repo, writeable=False) as butler:
        refs = find_spectra(butler, repo, collection, dataset_type)
        chosen = tuple(calibrations) or (CALIBRATION_COLLECTION,)
        number, stale = 0, []
        for spectrum in compare_spectra(butler, refs, images, chosen, where, catalogs=catalogs, failure=failure):
            number += 1
            if spectrum:
                stale.append(spectrum)
        if print_query is not None:
            queries = (queries_of_patches if print_query == "patches" else queries_of_images)(stale)
    if print_query is not None:
        for query in queries:
            click.echo(query)
    elif form == "ecsv":
        _table_of(stale).write(sys.stdout, format="ascii.ecsv")
    elif stale:
        for line in _table_of(stale)["catalog", "target", "run", "reason"].pformat(
            max_lines=-1, max_width=-1, align="<"
        ):
            click.echo(line.rstrip())
    click.echo(
        f"{len(stale)} of {number} spectra are out of date. check-provenance finds image files replaced in place.",
        err=True,
    )


@contextlib.contextmanager
def spectra_errors(repo: str, dataset_type: str, where: str) -> Iterator[None]:
    """Say what is wrong with names of collections and dataset types, and with data queries.

    Parameters
    ----------
    repo
        The repository, for messages.
    dataset_type
        Dataset type of the spectra.
    where
        Data query of --where.

    Raises
    ------
    UserError
        In place of the error of the Butler.
    """
    try:
        yield
    except MissingCollectionError as error:
        raise UserError(f"{first_line(error)}.") from None
    except MissingDatasetTypeError:
        raise UserError(f"There is no dataset type {dataset_type!r} in {repo}.") from None
    except InvalidQueryError as error:
        raise UserError(f"--where {where!r} is not a query: {first_line(error)}.") from None


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
    refs = butler.query_datasets(dataset_type, collections=collection, where=where, limit=None, explain=False)
    if not refs:
        raise UserError(f"{repo} has no {dataset_type} in {collection}{f' where {where}' if where else ''}.")
    if set(refs[0].dimensions.required) != {"catalog", "patch"}:
        raise UserError(f"{dataset_type!r} is not a dataset type of spectra of patches.")
    return refs


def _table_of(stale: Sequence[StaleSpectrum]) -> Table:
    from astropy.table import Table

    names = {"catalog": str, "target": str, "patch": int, "run": str, "id": str, "reason": str}
    numbers = ("superseded", "gone", "new", "recalibrated", "moved", "failed")
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
        )
        for spectrum in stale
    ]
    names |= dict.fromkeys(numbers, int)
    return Table(rows=rows or None, names=list(names), dtype=list(names.values()))
