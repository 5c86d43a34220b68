"""``butler ingest-calibrations``."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import click

from spherex.calibrations import timespan_between
from spherex.errors import first_line
from spherex.ingest import FILE_REGEX, CalibrationTranslator
from spherex.yamls import load_yaml

from .ingest import run_ingest


def ingest_calibrations(
    repo: str,
    locations: Sequence[str],
    regex: str | None,
    collection: str,
    begin_date: str | None,
    end_date: str | None,
    ids: Sequence[str],
    ids_file: str | None,
    dataset_type_prefix: str,
    processes: int,
    **choices: Any,
) -> bool:
    """Ingest calibrations of the archive and certify them.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    locations
        URIs or local paths of files, of directories, and of lists of URIs.
    regex
        Regular expression for the names of files; by default it matches those
        of the archive.
    collection
        Name of the CALIBRATION collection.
    begin_date, end_date
        Validity, TAI; None for no limit.
    ids
        Names of files with their UUIDs, joined by ``=``.
    ids_file
        URI of a file with more of them.
    dataset_type_prefix
        Prefix of the names of dataset types.
    processes
        Number of threads that read headers.
    **choices
        Other options of `run_ingest`.

    Returns
    -------
    bool
        Whether every file is in the repository and certified now.
    """
    try:
        timespan = timespan_between(begin_date, end_date)
    except ValueError as error:
        raise click.BadParameter(f"{str(error).rstrip('.')}.", param_hint="--begin-date, --end-date") from None
    given = {}
    for item in ids:
        name, _, text = item.partition("=")
        try:
            given[name] = uuid.UUID(text)
        except ValueError:
            raise click.BadParameter(f"{item!r} is not FILE=UUID.", param_hint="--id") from None
    is_given = begin_date is not None or end_date is not None
    all_ids = _load_ids(ids_file) | given
    owners: dict[uuid.UUID, str] = {}
    for name, id_ in all_ids.items():
        owner = owners.setdefault(id_, name)
        if owner != name:
            raise click.BadParameter(f"{owner} and {name} are given the same UUID {id_}.", param_hint="--id, --ids")
    translator = CalibrationTranslator(collection, dataset_type_prefix, all_ids, timespan if is_given else None)
    is_success = run_ingest(
        repo,
        translator,
        locations,
        regex or FILE_REGEX,
        threads=processes,
        # They are few, and every graph searches them.
        statistics_after=1,
        **choices,
    )
    # A name in --id that no file has is a mistake; --ids may list more files.
    lost = sorted(given.keys() - translator.identified)
    for name in lost:
        click.echo(f"failed: {name}: it has an --id, but there is no such file in LOCATIONS; check the name", err=True)
    return is_success and not lost


def _load_ids(uri: str | None) -> dict[str, uuid.UUID]:
    if uri is None:
        return {}
    from lsst.resources import ResourcePath

    try:
        content = load_yaml(ResourcePath(uri, forceDirectory=False).read())
        return {str(name): uuid.UUID(str(text)) for name, text in content.items()}
    except Exception as error:
        # Remote back ends raise errors of many libraries.
        raise click.BadParameter(
            f"{uri} is not a mapping from names of files to UUIDs ({first_line(error)}).", param_hint="--ids"
        ) from None
