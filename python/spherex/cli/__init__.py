"""Commands that the package adds to ``butler``."""

from __future__ import annotations

__all__ = ["get_cli_subcommands"]

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

_MANIFEST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "resources.yaml")


def get_cli_subcommands() -> Sequence[click.Command]:
    """Return the commands, unless they come another way already.

    Returns
    -------
    sequence [ click.Command ]
        All commands; none if DAF_BUTLER_PLUGINS lists our manifest, as it does
        where EUPS has set the package up: ``butler`` refuses to work with a
        command that it gets twice.
    """
    listed = os.environ.get("DAF_BUTLER_PLUGINS", "").split(os.pathsep)
    if any(path and os.path.realpath(path) == os.path.realpath(_MANIFEST) for path in listed):
        return []
    from . import commands

    return [getattr(commands, name) for name in commands.__all__]
