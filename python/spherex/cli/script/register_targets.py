"""``butler register-targets``: from a file to targets in a repository."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click
import sqlalchemy.exc

from spherex.detectors import catalog_collection
from spherex.errors import CatalogError, first_line
from spherex.repository import explain, open_repository

from . import user_errors

_MOST_PROBLEMS = 50
_FIELDS = {"catalog": frozenset({"desc"}), "target": frozenset({"ra", "dec", "region"})}


@user_errors()
def register_targets(
    repo: str, catalog_name: str, file: str, update: bool, dry_run: bool, **columns: str | None
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
        Whether the targets are registered, or would be.
    """
    from spherex.targets import check_catalog, check_catalog_name, read_catalog, register_catalog

    try:
        check_catalog_name(catalog_name)
    except CatalogError as error:
        raise click.BadParameter(str(error), param_hint="CATALOG_NAME") from None
    chosen = {name.removesuffix("_column"): column for name, column in columns.items() if column is not None}
    table = read_catalog(file, chosen)
    problems = check_catalog(table)
    for problem in problems[:_MOST_PROBLEMS]:
        click.echo(f"{file}, {problem}", err=True)
    if problems:
        rows = len({problem.row for problem in problems})
        if len(problems) > _MOST_PROBLEMS:
            click.echo(f"... and {len(problems) - _MOST_PROBLEMS} more", err=True)
        click.echo(f"{rows} of {len(table)} rows cannot be targets; nothing is registered.", err=True)
        return False
    with open_repository(repo, writeable=not dry_run, fields=_FIELDS) as butler, _catalog_errors(repo):
        done = register_catalog(butler, catalog_name, table, file, update=update, dry_run=dry_run)
    if done.is_nothing:
        click.echo(f"Nothing to do: catalogue {catalog_name} is as in the file, with {done.same} targets.")
        return True
    parts = [f"{done.new} new", f"{done.changed} moved", f"{done.same} as before"]
    if done.gone:
        parts.append(f"{done.gone} no longer in the file, which stay registered but are no longer measured")
    where = f"would be in a new run of {catalog_collection(catalog_name)}" if dry_run else f"in {done.run}"
    click.echo(f"Targets of catalogue {catalog_name}: {', '.join(parts)}. Table target_catalog {where}.")
    return True


@contextlib.contextmanager
def _catalog_errors(repo: str) -> Iterator[None]:
    """Raise errors of the Butler and the system as a `CatalogError`."""
    from lsst.daf.butler import CollectionTypeError
    from lsst.daf.butler.registry import ConflictingDefinitionError

    try:
        yield
    except sqlalchemy.exc.IntegrityError:
        raise CatalogError(
            "Nothing is registered: another process has just registered targets of this catalogue. Run the same "
            "command again."
        ) from None
    except (ConflictingDefinitionError, CollectionTypeError) as error:
        raise CatalogError(f"Nothing is registered: it contradicts {repo}: {first_line(error)}.") from error
    except (OSError, RuntimeError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise CatalogError(f"Nothing is registered: {explain(error).removesuffix('.')}.") from error
