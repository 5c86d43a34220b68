"""Functions that do the work of the commands, one for each command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from spherex.errors import UserError


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Show a `UserError` as the error message of the command; a decorator or a context.

    Raises
    ------
    click.ClickException
        In place of the `UserError`.
    """
    try:
        yield
    except UserError as error:
        raise click.ClickException(str(error)) from None
