"""``butler make-spectrum``: from a name, a position or a catalogue to spectra and their pictures."""

from __future__ import annotations

import contextlib
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pyarrow.compute as pc
from lsst.daf.butler import MissingDatasetTypeError

from spherex.detectors import (
    CATALOG_TYPE,
    CHANNEL_SPECTRA_TYPE,
    SPECTRA_TYPE,
    catalog_collection,
    spectra_collection,
)
from spherex.errors import MOST_NAMES, CatalogError, SearchError, UserError, counted, did_you_mean, listed
from spherex.making import UpdatedSpectra, update_spectra
from spherex.repository import open_repository
from spherex.search import position_of_name
from spherex.spectra import SUMMARY_COLUMNS, catalog_of, most_frequent, positions_at, summarize_patch
from spherex.targets import (
    check_catalog,
    check_catalog_name,
    check_file_name,
    is_catalog_file,
    register_catalog,
    similar_files,
)

from . import user_errors
from .find_archive import find_archive
from .find_images import position_of_arguments
from .ingest import ingest_level2
from .register_targets import register_targets

if TYPE_CHECKING:
    from astropy.table import Table
    from lsst.daf.butler import Butler, DatasetRef

    from spherex.spectra import TargetSummary


_MOST_TARGETS = 3
"""Largest number of targets that the summary describes one by one."""

_PRECISE = 10.0
"""Signal to noise from which on it is printed without decimals."""

_DESC = "butler make-spectrum"
"""Description of the catalogues of this command."""

_FILE_NAME = re.compile(r"\S+\.[A-Za-z][A-Za-z0-9]{1,7}")
"""Word with the extension of a file. Names of sources have coordinates after a dot, and components have one letter."""

_FIELDS = {"catalog": frozenset({"desc"}), "patch": frozenset({"region"}), "target": frozenset({"ra", "dec", "region"})}


@user_errors()
def make_spectrum(
    repo: str,
    target: Sequence[str],
    catalog: str | None,
    files: Sequence[str],
    find: bool,
    failed: bool,
    access: str,
    service: str | None,
    output: str | None,
    log: str | None,
) -> bool:
    """Make spectra that are missing or out of date.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    target
        File of a catalogue, name of a registered catalogue or of a source, or
        name with right ascension and declination.
    catalog
        Name of a new catalogue; `None` for that of the file or source.
    files
        Level 2 images to ingest first.
    find
        Whether to look for images in the archive first.
    failed
        Whether failed measurements are repeated.
    access, service
        See `spherex.cli.script.find_archive.find_archive`.
    output
        Collection of the spectra; `None` for ``spectra/<catalogue>``.
    log
        Path of the log; `None` for ``spectra-<catalogue>.log``.

    Returns
    -------
    bool
        Whether there is a spectrum, and nothing has failed.
    """
    if service is not None and not find:
        raise click.UsageError("--service is for --find.")
    is_file = is_catalog_file(target[0])
    if is_file and len(target) > 1:
        raise click.UsageError(f"{target[0]} is the file of a catalogue, which has positions: leave out {target[1]}.")
    source = Path(target[0]).name.partition(".")[0] if is_file else target[0]
    name = catalog or re.sub(r"[^\w.+-]", "_", source, flags=re.ASCII).lstrip("_.+-")
    try:
        check_catalog_name(name)
    except CatalogError as error:
        raise CatalogError(f"{error} Choose one by --catalog.") from None
    if is_file:
        try:
            is_registered = register_targets(repo, name, target[0], None, False, False, update=False, dry_run=False)
        except click.ClickException as error:
            if " --" not in error.message or "butler register-targets" in error.message:
                raise
            raise click.ClickException(
                f"{error.message} These are options of register-targets: butler register-targets {repo} {name} "
                f"{target[0]} ..., and then butler make-spectrum {repo} {name}."
            ) from None
        if not is_registered:
            return False
    else:
        with open_repository(repo, writeable=True, fields=_FIELDS) as butler:
            _register_one(butler, repo, name, target)
    done = True
    collection = output or spectra_collection(name)
    path = Path(log or f"spectra-{name}.log")
    if files:
        with _logging_to(path):
            done &= ingest_level2(repo, files, transfer=None, skip_existing=True, track_file_attrs=False)
    with open_repository(repo, writeable=True, fields=_FIELDS) as butler:
        with _logging_to(path):
            if find:
                done &= _find(butler, repo, name, access, service)
            failure = "" if failed else None
            try:
                made = update_spectra(butler, name, collection, failure=failure, measuring=_progress_bar)
            except KeyboardInterrupt:
                click.echo("Interrupted. The same command goes on from here.", err=True)
                raise
        if made.targets:
            click.echo(f"Log: {path}" if made.runs else "Nothing to do: the spectra are up to date.")
            _report(butler, repo, name, collection, made, path)
        for line in made.uncalibrated:
            click.echo(line)
        if made.unread:
            places = [_place_of(butler, ref) for ref in made.unread[:_MOST_TARGETS]]
            click.echo(
                f"{counted(len(made.unread), 'image')} could not be read ({listed(places, len(made.unread))}): the "
                "column reason of the spectra, or unplaced in their metadata, says why. Once the files are repaired, "
                "repeat the command with --failed.",
                err=True,
            )
    for label, number in made.failed.items():
        if number:
            click.echo(f"{label} failed {counted(number, 'time')}: see {path}; the command can be repeated.", err=True)
    if made.stale:
        click.echo(
            f"{counted(made.stale, 'target')} still out of date: butler stale-spectra {repo} {collection} lists them, "
            f"and {path} has the reasons.",
            err=True,
        )
    if not made.targets:
        raise UserError(f"no image of {repo} contains a target of {name}: butler find-archive finds more.")
    return done and not (made.failed.total() or made.unread or made.stale)


def _is_registered(butler: Butler, catalog: str) -> bool:
    return bool(butler.query_dimension_records("catalog", where="catalog = c", bind={"c": catalog}, explain=False))


def _is_unmeasured(butler: Butler, catalog: str, target: str) -> bool:
    """Return whether a catalogue is that of this command for a target without spectra: a mistyped position, say."""
    records = butler.query_dimension_records("target", catalog=catalog, limit=2, explain=False)
    catalogs = butler.query_dimension_records("catalog", catalog=catalog, explain=False)
    if [record.name for record in records] != [target] or [record.desc for record in catalogs] != [_DESC]:
        return False
    try:
        return not butler.query_datasets(SPECTRA_TYPE, "*", find_first=False, catalog=catalog, limit=1, explain=False)
    except MissingDatasetTypeError:
        return True


def _register_one(butler: Butler, repo: str, catalog: str, arguments: Sequence[str]) -> None:
    """Register a catalogue of one target, unless it is registered already."""
    from astropy.coordinates import SkyCoord

    if len(arguments) == 1 and _is_registered(butler, catalog):
        name = arguments[0]
        found = butler.query_dimension_records(
            "target", where="target = t", bind={"t": name}, catalog=catalog, explain=False
        )
        if name != catalog and not found:
            raise CatalogError(f"{repo} has a catalogue {catalog} without {name}: choose another name by --catalog.")
        return
    if Path(arguments[0]).is_dir():
        raise CatalogError(
            f"{arguments[0]} is a directory: name the source, and ingest images by --files {arguments[0]}."
        )
    if len(arguments) > 1:
        ra, dec = position_of_arguments(repo, arguments[1:])
        position = SkyCoord(ra, dec, unit="deg")
    else:
        if _FILE_NAME.fullmatch(arguments[0]):
            check_file_name(arguments[0])
        try:
            position = position_of_name(arguments[0])
        except SearchError as error:
            records = butler.query_dimension_records("target", limit=MOST_NAMES, explain=False)
            targets = {record.name: record.catalog for record in records}
            if arguments[0] in targets:
                raise SearchError(
                    f"{arguments[0]} is a target of: butler make-spectrum {repo} {targets[arguments[0]]}. As a name of "
                    f"its own: {error}"
                ) from error
            catalogs = butler.query_dimension_records("catalog", explain=False)
            hint = did_you_mean(arguments[0], [*(record.name for record in catalogs), *targets]) or similar_files(
                arguments[0]
            )
            if hint:
                raise SearchError(f"{repo} has no catalogue {arguments[0]}.{hint} As a name: {error}") from error
            raise
    table: Table = catalog_of(position)
    table["name"] = [arguments[0]]
    if problems := check_catalog(table):
        raise CatalogError(f"{arguments[0]} cannot be a target: {problems[0]}.")
    try:
        done = register_catalog(butler, catalog, table, _DESC, update=_is_unmeasured(butler, catalog, arguments[0]))
    except CatalogError as error:
        if _is_registered(butler, catalog):
            raise CatalogError(
                f"{repo} has a catalogue {catalog} with another target or position: choose a name by --catalog, or "
                f"move the target by butler register-targets {repo} {catalog} FILE --update."
            ) from error
        raise
    if not done.is_nothing:
        motion = f" in {table['ref_epoch'][0]}, with proper motion" if "pmra" in table.colnames else ""
        click.echo(f"{arguments[0]}: RA {table['ra'][0]:.6f}, Dec {table['dec'][0]:.6f}{motion}; catalogue {catalog}")


def _find(butler: Butler, repo: str, catalog: str, access: str, service: str | None) -> bool:
    """Find images of the archive, and ingest them."""
    from astropy.time import Time

    targets = butler.get(CATALOG_TYPE, catalog=catalog, collections=catalog_collection(catalog))
    where: dict[str, Any] = {"position": (), "catalog": catalog}
    if len(targets) == 1:
        # The service for one position is the simpler one.
        place = positions_at(targets, Time.now())[0]
        where = {"position": (f"{place.ra.deg:.7f}", f"{place.dec.deg:.7f}"), "catalog": None}
    return find_archive(
        repo,
        **where,
        radius=None,
        archive_collection=(),
        access=access,
        service=service,
        timeout=300.0,
        dry_run=False,
        output=None,
        overwrite=False,
        processes=8,
    )


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Write the log into a file instead of the terminal."""
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise UserError(f"the log {path} cannot be written ({error.strerror}): choose another by --log.") from None
    handler.setFormatter(logging.Formatter("{levelname} {asctime} {name}: {message}", style="{"))
    root = logging.getLogger()
    # A file that the user named by butler --log-file gets its messages too.
    terminal = [shown for shown in root.handlers if type(shown) is logging.StreamHandler]
    for shown in terminal:
        root.removeHandler(shown)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
        for shown in terminal:
            root.addHandler(shown)


class _Ticks(logging.Handler):
    """Handler of the executor's messages after each quantum, which moves a progress bar.

    Parameters
    ----------
    bar
        Progress bar of `click`.
    """

    def __init__(self, bar: Any) -> None:
        super().__init__(logging.INFO)
        self._bar = bar

    def emit(self, record: logging.LogRecord) -> None:
        """Move the bar; see `logging.Handler`."""
        if record.msg.startswith("Executed %d quanta"):
            self._bar.update(1)


@contextlib.contextmanager
def _progress_bar(images: int) -> Iterator[None]:
    log = logging.getLogger("lsst.pipe.base.mp_graph_executor")
    with click.progressbar(length=images, label=f"Measuring {counted(images, 'image')}", file=None) as bar:
        ticks = _Ticks(bar)
        log.addHandler(ticks)
        try:
            yield
        finally:
            log.removeHandler(ticks)


def _report(butler: Butler, repo: str, catalog: str, collection: str, made: UpdatedSpectra, log: Path) -> None:
    """Print how good the spectra are, the worst ones first, and where they are."""
    wanted, channels = set(made.targets), _numbers_of_channels(butler, catalog, collection)
    summaries: list[TargetSummary] = []
    for ref in made.spectra:
        patch = butler.get(ref, parameters={"columns": [*SUMMARY_COLUMNS]})
        summaries += [summary for summary in summarize_patch(patch) if summary.name in wanted]
    summaries.sort(key=lambda summary: (summary.good_share, summary.name))
    lines = [_line_of(summary, channels.get(summary.name)) for summary in summaries]
    bad, reasons = Counter[str](), Counter[str]()
    for summary in summaries:
        bad.update(summary.bad)
        reasons.update(summary.reasons)
    label, most = f"{made.targets[0]} without a flux", 1
    if len(lines) > 1:
        label, most = "Without a flux", 2
        good, number = (sum(getattr(summary, name) for summary in summaries) for name in ("good", "measurements"))
        click.echo(f"{counted(len(lines), 'target')}: {good:,} of {number:,} measurements good{_not_good(bad)}")
    if reasons:
        click.echo(f"{label}: {', '.join(most_frequent(reasons, most))}")
    if any("no PSF" in reason for reason in reasons):
        click.echo(f"The calibration epsf serves instead: butler ingest-calibrations {repo} LOCATIONS")
    for summary, line in zip(summaries[:_MOST_TARGETS], lines, strict=False):
        click.echo(line)
        if summary.name in made.pictures:
            click.echo(f"Picture: {_place_of(butler, made.pictures[summary.name])}")
    if (others := len(lines) - _MOST_TARGETS) > 0:
        with log.open("a", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in [f"Spectra in {collection}, the worst ones first:", *lines])
        number = counted(len(made.pictures), "picture")
        click.echo(f"... and {counted(others, 'more target')}; {number} in all. The end of {log} lists all targets.")
    if made.unseen:
        names = listed(made.unseen, most=_MOST_TARGETS)
        why = "" if made.failed.total() else " (outside the pixels of all images)"
        click.echo(f"{counted(len(made.unseen), 'target')} without a measurement{why}: {names}")
    if len(made.spectra) == 1:
        click.echo(f"Table: {_place_of(butler, made.spectra[0])}")
    else:
        click.echo(f"{len(made.spectra)} tables: butler export-spectra {repo} {collection} DIRECTORY copies them.")
    names = f"{repo!r}, {catalog!r}, {made.targets[0]!r}"
    click.echo(f"In Python: import spherex; spectrum = spherex.get_spectrum({names}, collections={collection!r})")


def _numbers_of_channels(butler: Butler, catalog: str, collection: str) -> Counter[str]:
    """Return the number of channels with a mean of each target."""
    found = Counter[str]()
    try:
        refs = butler.query_datasets(CHANNEL_SPECTRA_TYPE, collection, catalog=catalog, limit=None, explain=False)
    except MissingDatasetTypeError:
        return found
    for ref in refs:
        means = butler.get(ref, parameters={"columns": ["target"]})
        found.update({row["values"]: row["counts"] for row in pc.value_counts(means["target"]).to_pylist()})
    return found


def _line_of(summary: TargetSummary, channels: int | None) -> str:
    """Return how good the spectrum of a target is."""
    line = f"{summary.name}: {counted(summary.measurements, 'measurement')}, {summary.good} of them good"
    if np.isfinite(summary.signal):
        line += f", median S/N {summary.signal:,.{0 if abs(summary.signal) >= _PRECISE else 1}f}"
    if channels is not None:
        line += f", in {counted(channels, 'channel')}"
    return line + _not_good(summary.bad)


def _not_good(bad: Counter[str]) -> str:
    """Return why measurements are not good, with a semicolon before it."""
    return f"; not good: {', '.join(f'{number:,} {mark}' for mark, number in bad.most_common())}" if bad else ""


def _place_of(butler: Butler, ref: DatasetRef) -> str:
    """Return the path of a file, or its URI."""
    uri = butler.getURI(ref)
    return uri.ospath if uri.isLocal else str(uri)
