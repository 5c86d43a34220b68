"""Functions that do the work of the commands, one for each command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from spherex.errors import UserError, first_line

MANY = 100
"""Number of files or targets after which the statistics are refreshed: `ANALYZE`
takes a tenth of a second in a small repository.
"""


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Show errors that the user can fix as the error message of the command; a decorator or a context.

    Raises
    ------
    click.ClickException
        In place of a `UserError`, and of errors of full disks and of
        databases out of reach.
    """
    try:
        yield
    except UserError as error:
        raise click.ClickException(str(error)) from None
    except click.ClickException:
        raise
    except Exception as error:
        from spherex.repository import explain, is_fatal

        if not is_fatal(error):
            raise
        raise click.ClickException(f"{explain(error)}.") from error


def refresh_statistics_after(repo: str, changes: int, least: int = MANY) -> None:
    """Refresh the statistics of the database after a command that wrote enough to matter.

    Where that fails, the command has nevertheless done its work: only a
    warning is printed.

    Parameters
    ----------
    repo
        Path, URI or label of the repository. No Butler of this process may be
        in a transaction on it.
    changes
        Number of files or targets that the command wrote or changed.
    least
        Smallest number for which it is done.
    """
    if changes < least:
        return
    import sqlalchemy.exc

    from spherex.repository import refresh_statistics

    try:
        refresh_statistics(repo)
    except sqlalchemy.exc.SQLAlchemyError as error:
        click.echo(
            f"The command has succeeded, but searches may be slow: ANALYZE failed ({first_line(error)}).", err=True
        )
