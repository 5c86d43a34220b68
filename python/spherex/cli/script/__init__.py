"""Functions that do the work of the commands, one for each command."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from spherex.errors import NoRepositoryError, ReadOnlyError, UserError, first_line

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
    click.exceptions.Exit
        If the output is a pipe that nobody reads any more.
    """
    try:
        yield
    except UserError as error:
        raise click.ClickException(_message(error, click.get_current_context(silent=True))) from None
    except BrokenPipeError:
        if not _is_reader_gone():
            raise
        # What is printed at the end of the process would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(1) from None
    except click.ClickException:
        raise
    except Exception as error:
        from spherex.repository import explain, is_fatal

        if not is_fatal(error):
            raise
        raise click.ClickException(f"{explain(error)}.") from error


def _message(error: UserError, context: click.Context | None) -> str:
    """Return the message of an error, with a remedy by the arguments and options of the command."""
    if isinstance(error, ReadOnlyError) and context is not None and "dry_run" in context.params:
        return f"{str(error).removesuffix('.')}, or use --dry-run."
    if isinstance(error, NoRepositoryError) and context is not None:
        for value in context.params.values():
            for word in value if isinstance(value, tuple) else (value,):
                if isinstance(word, str) and os.path.exists(os.path.join(word, "butler.yaml")):
                    return (
                        f"{context.params.get('repo')} is not a repository of the Butler, but {word} is. The "
                        f"repository comes first: butler {context.info_name} {word} ..."
                    )
    return str(error)


def _is_reader_gone() -> bool:
    """Return whether nobody reads the output any more, such as ``head`` after its lines."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Report files of the user, outside of the repository, that cannot be written.

    Parameters
    ----------
    path
        The file or directory.

    Raises
    ------
    UserError
        In place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, UserError):
            raise
        from spherex.repository import NO_SPACE

        # The texts of pyarrow name the file again.
        reason = os.strerror(error.errno) if error.errno else first_line(error)
        remedy = "make room and run the same command again" if error.errno in NO_SPACE else "choose another place"
        raise UserError(f"{path} cannot be written: {reason}; {remedy}.") from None


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
