"""``butler register-targets``: from a file to targets in a repository."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click
import numpy as np
import sqlalchemy.exc

from spherex.detectors import catalog_collection
from spherex.errors import CatalogError, counted, did_you_mean, first_line, listed
from spherex.repository import explain, open_repository

from . import refresh_statistics_after, user_errors

_MOST_PROBLEMS = 50
_HOURS = 24
_SYSTEM_ERRORS = (OSError, RuntimeError, sqlalchemy.exc.SQLAlchemyError)
_FIELDS = {"catalog": frozenset({"desc"}), "target": frozenset({"ra", "dec", "region"})}


@user_errors()
def register_targets(
    repo: str,
    catalog_name: str,
    file: str,
    ref_epoch: float | None,
    no_motion: bool,
    skip_bad_rows: bool,
    update: bool,
    dry_run: bool,
    **columns: str | None,
) -> bool:
    """Register the rows of a file as targets.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    catalog_name
        Name of the catalogue.
    file
        Path or URI of the table.
    ref_epoch
        Julian year of all positions; `None` for the column of the file.
    no_motion
        Use the positions without proper motions.
    skip_bad_rows
        Leave out the rows that cannot be targets.
    update
        Whether an existing catalogue may change.
    dry_run
        Only report.
    **columns
        Names of columns in the file, by our names with ``_column``; `None`
        for the usual names.

    Returns
    -------
    bool
        Whether all targets are registered, or would be: false if the file is
        incomplete.
    """
    from spherex.targets import (
        CatalogProblem,
        Motion,
        check_catalog,
        check_catalog_name,
        coincident_names,
        coverage_of,
        is_catalog_file,
        read_catalog,
        register_catalog,
        similar_names,
    )

    if is_catalog_file(catalog_name) and not is_catalog_file(file):
        raise click.UsageError(
            f"CATALOG_NAME is in front of FILE: butler register-targets {repo} {file} {catalog_name}"
        )
    try:
        check_catalog_name(catalog_name)
    except CatalogError as error:
        raise click.BadParameter(str(error), param_hint="CATALOG_NAME") from None
    chosen = {name.removesuffix("_column"): column for name, column in columns.items() if column is not None}
    motion = Motion(not no_motion, np.nan if ref_epoch is None else ref_epoch)
    problems: list[CatalogProblem] = []
    faults: list[str] = []
    table = read_catalog(file, chosen, motion, problems, faults)
    for fault in faults:
        click.echo(f"{file}: {fault}.", err=True)
    problems = check_catalog(table, problems)
    for problem in problems[:_MOST_PROBLEMS]:
        click.echo(f"{file}, {problem}", err=True)
    if problems:
        bad = sorted({problem.row - 1 for problem in problems})
        if len(problems) > _MOST_PROBLEMS:
            click.echo(f"... and {len(problems) - _MOST_PROBLEMS} more", err=True)
        is_nothing_left = not skip_bad_rows or len(bad) == len(table)
        end = "nothing is registered" if is_nothing_left else "they are skipped"
        if is_nothing_left and len(bad) < len(table):
            end += ". Fix them, or leave them out by --skip-bad-rows of register-targets"
        click.echo(f"{len(bad)} of {len(table)} rows cannot be targets; {end}.", err=True)
        if is_nothing_left:
            return False
        table.remove_rows(bad)
    similar = similar_names(table)
    for names in similar[:_MOST_PROBLEMS]:
        click.echo(f"{file}: names that differ only in case or Unicode normal form: {names}", err=True)
    if len(similar) > _MOST_PROBLEMS:
        click.echo(f"... and {counted(len(similar) - _MOST_PROBLEMS, 'more group')} of such names", err=True)
    if coincident := coincident_names(table):
        click.echo(
            f"{file}: {len(coincident)} targets are at the place of another one, so that a fit cannot separate them "
            f"and they have no fluxes: {listed(coincident, most=_MOST_PROBLEMS)}",
            err=True,
        )
    with open_repository(repo, writeable=not dry_run, fields=_FIELDS) as butler:
        if update:
            catalogs = [record.name for record in butler.query_dimension_records("catalog", explain=False)]
            if catalog_name not in catalogs:
                click.echo(
                    f"There is no catalogue {catalog_name} to update: this is a new one."
                    f"{did_you_mean(catalog_name, catalogs)}",
                    err=True,
                )
        with _catalog_errors(repo):
            done = register_catalog(butler, catalog_name, table, file, update=update, dry_run=dry_run)
        if done.is_nothing:
            click.echo(f"Nothing to do: catalogue {catalog_name} is as in the file, with {done.same} targets.")
        else:
            parts = [f"{done.new} new", f"{done.changed} moved", f"{done.same} as before"]
            if done.gone:
                parts.append(f"{done.gone} no longer in the file, which stay registered but are no longer measured")
            where = f"would be in a new run of {catalog_collection(catalog_name)}" if dry_run else f"in {done.run}"
            click.echo(f"Targets of catalogue {catalog_name}: {', '.join(parts)}. Table target_catalog {where}.")
        if not dry_run:
            # The search for the images of the targets needs them.
            refresh_statistics_after(repo, done.new + done.changed)
        try:
            coverage = coverage_of(butler, table)
        except _SYSTEM_ERRORS as error:
            state = "can be registered" if dry_run else "is registered"
            raise CatalogError(
                f"Catalogue {catalog_name} {state}, but its targets outside of all images cannot be counted: "
                f"{type(error).__name__}: {first_line(error)}."
            ) from error
    if coverage is not None and coverage.outside:
        click.echo(f"{file}: {coverage}", err=True)
        if len(coverage.outside) == coverage.targets and max(table["ra"]) < _HOURS:
            click.echo(
                f"All right ascensions are below {_HOURS} degrees. If they are hours, write them as 20:22:48.", err=True
            )
    return not faults


@contextlib.contextmanager
def _catalog_errors(repo: str) -> Iterator[None]:
    """Raise errors of the Butler and the system as a `CatalogError`."""
    from lsst.daf.butler import CollectionTypeError
    from lsst.daf.butler.registry import ConflictingDefinitionError

    try:
        yield
    except (ConflictingDefinitionError, CollectionTypeError) as error:
        raise CatalogError(f"Nothing is registered: it contradicts {repo}: {first_line(error)}.") from error
    except _SYSTEM_ERRORS as error:
        raise CatalogError(f"Nothing is registered: {explain(error).removesuffix('.')}.") from error
