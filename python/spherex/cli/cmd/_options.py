"""Arguments and options that all ingest commands have."""

from __future__ import annotations

__all__ = ["ingest_arguments", "ingest_options"]

from collections.abc import Callable
from typing import Any

import click
from lsst.daf.butler.cli.opt import (
    locations_argument,
    options_file_option,
    processes_option,
    regex_option,
    repo_argument,
    track_file_attrs_option,
    transfer_option,
)

_Decorator = Callable[[Any], Any]


def ingest_arguments(regex_help: str) -> _Decorator:
    """Declare where files come from and go to.

    Parameters
    ----------
    regex_help
        What --regex is by default.
    """
    return _stacked(
        repo_argument(required=True, help="REPO is the URI or path of an existing repository."),
        locations_argument(
            required=True,
            help="LOCATIONS are files, or directories to search for files, on disk or at any URI that "
            "lsst.resources reads, or lists of such addresses (.txt, .parquet, .xml, .vot).",
        ),
        regex_option(help=f"Regular expression that is searched for in the names of files. {regex_help}"),
    )


def ingest_options(
    transfer: dict[str, Any] | None = None, track_file_attrs: dict[str, Any] | None = None
) -> _Decorator:
    """Declare what can be chosen whatever the kind of file.

    Parameters
    ----------
    transfer, track_file_attrs
        What differs from the stock options of these names.
    """
    return _stacked(
        transfer_option(**(transfer or {})),
        processes_option(
            help="Number of threads that read headers. More than one helps where files are slow to reach."
        ),
        click.option("--fail-fast", is_flag=True, help="Stop at the first file that fails."),
        click.option(
            "--skip-existing",
            is_flag=True,
            help="Pass over files whose dataset is in the repository, without reading them. Without this option "
            "they are compared with what was ingested.",
        ),
        click.option(
            "--update-records",
            is_flag=True,
            help="Let headers overwrite dimension records that differ. Unknown values are filled in without it.",
        ),
        click.option("--dry-run", is_flag=True, help="Do everything but write, and report what would be done."),
        track_file_attrs_option(**(track_file_attrs or {})),
        options_file_option(),
    )


def _stacked(*decorators: _Decorator) -> _Decorator:
    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate
