"""``butler ingest-calibrations``: from options to an ingest that certifies."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from spherex.archive import ProcessingRun
from spherex.calibrations import (
    CertifiedChange,
    CertifyRehearsal,
    certify_newest,
    gaps_of,
    newest_last,
    timespan_between,
)
from spherex.errors import ArchiveNameError, IngestError
from spherex.ingest import FILE_REGEX, CalibrationDescriber

from .calibrations import limits_of
from .ingest import run_ingest

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef, Timespan

    from spherex.ingest import BatchHook


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
    given = _parse_ids(ids)
    describer = CalibrationDescriber(collection, dataset_type_prefix, _merged(_load_ids(ids_file), given))
    is_success = run_ingest(
        repo,
        describer,
        locations,
        regex or FILE_REGEX,
        begin=_certifier(collection, timespan, is_given=begin_date is not None or end_date is not None),
        threads=processes,
        **choices,
    )
    # One who names a file by hand means it.
    lost = sorted(given.keys() - describer.identified)
    for name in lost:
        click.echo(f"failed: {name}: it has an --id, but there is no such file in LOCATIONS; check the name", err=True)
    return is_success and not lost


def _certifier(collection: str, timespan: Timespan, is_given: bool) -> Callable[[Butler, bool], BatchHook]:
    """Return what certifies datasets; those that were there already only in a range that the user gave.

    Else the same command given again would undo a decertification.
    """

    def begin(butler: Butler, dry_run: bool) -> BatchHook:
        _check_collection(butler, collection)
        rehearsal = CertifyRehearsal(butler, collection, timespan, age_of)
        if not dry_run:
            _register(butler, collection)

        def certify(new: Sequence[DatasetRef], present: Sequence[DatasetRef]) -> list[str]:
            refs = [*new, *present] if is_given else new
            # An older one would have to give way at once to the newest of its data ID.
            newest = {(ref.datasetType.name, ref.dataId): ref.id for ref in newest_last([*new, *present], age_of)}
            latest = [ref for ref in present if newest[ref.datasetType.name, ref.dataId] == ref.id]
            # What is new may fill gaps; what is there already fills them only if a range was given.
            gained = [_gain_of(ref, gap, dry_run) for ref in latest for gap in gaps(ref)] if is_given else []
            changes = rehearsal.certify(refs) if dry_run else certify_newest(butler, collection, refs, timespan, age_of)
            left = [] if is_given else [_gap_of(ref, gap, dry_run) for ref in latest for gap in gaps(ref)]
            return [*gained, *left, *(_line_of(change, dry_run) for change in changes)]

        def gaps(ref: DatasetRef) -> list[Timespan]:
            return rehearsal.gaps(ref) if dry_run else gaps_of(butler, collection, ref, timespan)

        return certify

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


def _line_of(change: CertifiedChange, dry_run: bool) -> str:
    verb = "replace" if change.is_replaced else "leave"
    verb = f"would {verb}" if dry_run else f"{verb}s"
    return f"{_name(change.ref)} {verb} {change.other.run} {_range(change.timespan)}"


def _gain_of(ref: DatasetRef, gap: Timespan, dry_run: bool) -> str:
    return f"{_name(ref)}, already there, {'would become' if dry_run else 'becomes'} valid {_range(gap)}"


def _gap_of(ref: DatasetRef, gap: Timespan, dry_run: bool) -> str:
    return (
        f"{_name(ref)}, already there, {'would stay' if dry_run else 'stays'} out {_range(gap)}, where nothing is "
        "valid; give --begin-date or --end-date to certify it"
    )


def _name(ref: DatasetRef) -> str:
    detector = ref.dataId.get("detector")
    return f"{ref.datasetType.name}{'' if detector is None else f', detector {detector}'}: {ref.run}"


def _range(timespan: Timespan) -> str:
    begin, end = limits_of(timespan)
    return f"from {begin} to {end} (TAI)"


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
