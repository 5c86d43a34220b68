"""``butler ingest-calibrations``: from options to an ingest that certifies."""

from __future__ import annotations

__all__ = ["ingest_calibrations"]

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from spherex.archive import ArchiveNameError, ProcessingRun
from spherex.calibrations import CertifiedChange, CertifyRehearsal, certify_newest, timespan_between
from spherex.ingest import IngestError
from spherex.ingest.calibrations import FILE_REGEX, CalibrationDescriber

from ._run import run_ingest
from .list_calibrations import limits_of

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef, Timespan


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
        Paths or URIs of files, of directories, and of lists of such addresses.
    regex
        Searched for in names of files; by default it matches the archive's.
    collection
        Name of the CALIBRATION collection.
    begin_date, end_date
        Validity, TAI; None for no limit.
    ids
        Names of files with their UUIDs, joined by ``=``.
    ids_file
        Address of a file with more of them.
    dataset_type_prefix
        Put in front of the names of dataset types.
    processes
        Number of threads that read headers.
    **choices
        Other fields of `spherex.ingest.IngestOptions`.

    Returns
    -------
    bool
        Whether every file is in the repository and certified now.
    """
    try:
        timespan = timespan_between(begin_date, end_date)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--begin-date, --end-date") from None
    given = _parse_ids(ids)
    describer = CalibrationDescriber(collection, dataset_type_prefix, _merged(_load_ids(ids_file), given))
    is_success = run_ingest(
        repo,
        describer,
        locations,
        regex or FILE_REGEX,
        begin=_certifier(collection, timespan),
        threads=processes,
        **choices,
    )
    # One who names a file by hand means it.
    lost = sorted(given.keys() - describer.identified)
    for name in lost:
        click.echo(f"failed: {name}: it has an --id, but there is no such file in LOCATIONS; check the name", err=True)
    return is_success and not lost


def _certifier(
    collection: str, timespan: Timespan
) -> Callable[[Butler, bool], Callable[[Sequence[DatasetRef]], Iterable[str]]]:
    def begin(butler: Butler, dry_run: bool) -> Callable[[Sequence[DatasetRef]], Iterable[str]]:
        _check_collection(butler, collection)
        if dry_run:
            rehearsal = CertifyRehearsal(butler, collection, timespan, age_of)
            return lambda refs: [_line_of(change, "would {}") for change in rehearsal.certify(refs)]
        _register(butler, collection)
        return lambda refs: [
            _line_of(change, "{}s") for change in certify_newest(butler, collection, refs, timespan, age_of)
        ]

    def age_of(run: str) -> Any:
        prefix, _, name = run.rpartition("/")
        try:
            return ProcessingRun.parse(name).age_key if prefix == collection else None
        except ArchiveNameError:
            return None

    return begin


def _check_collection(butler: Butler, collection: str) -> None:
    from lsst.daf.butler import CollectionType, MissingCollectionError

    try:
        type_ = butler.collections.get_info(collection).type
    except MissingCollectionError:
        return
    if type_ is not CollectionType.CALIBRATION:
        raise IngestError(
            f"Collection {collection!r} of the repository is not of type CALIBRATION: choose another --collection."
        )


def _register(butler: Butler, collection: str) -> None:
    from lsst.daf.butler import CollectionType

    butler.collections.register(collection, CollectionType.CALIBRATION)


def _line_of(change: CertifiedChange, form: str) -> str:
    detector = change.ref.dataId.get("detector")
    what = change.ref.datasetType.name + ("" if detector is None else f", detector {detector}")
    begin, end = limits_of(change.timespan)
    verb = form.format("replace" if change.is_replaced else "leave")
    return f"{what}: {change.ref.run} {verb} {change.other.run} from {begin} to {end} (TAI)"


def _parse_ids(items: Iterable[str]) -> dict[str, uuid.UUID]:
    ids = {}
    for item in items:
        name, _, text = item.partition("=")
        try:
            ids[name] = uuid.UUID(text)
        except ValueError:
            raise click.BadParameter(f"{item!r} is not FILE=UUID.", param_hint="--id") from None
    return ids


def _load_ids(address: str | None) -> dict[str, uuid.UUID]:
    if address is None:
        return {}
    import yaml
    from lsst.resources import ResourcePath

    try:
        content = yaml.safe_load(ResourcePath(address, forceDirectory=False).read())
        return {str(name): uuid.UUID(str(text)) for name, text in content.items()}
    except Exception as error:
        # Remote back ends raise errors of many libraries.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise click.BadParameter(
            f"{address} is not a mapping from names of files to UUIDs ({reason}).", param_hint="--ids"
        ) from None


def _merged(loaded: dict[str, uuid.UUID], given: dict[str, uuid.UUID]) -> dict[str, uuid.UUID]:
    ids = loaded | given
    owners: dict[uuid.UUID, str] = {}
    for name, id_ in ids.items():
        other = owners.setdefault(id_, name)
        if other != name:
            raise click.BadParameter(f"{other} and {name} are given the same UUID {id_}.", param_hint="--id, --ids")
    return ids
