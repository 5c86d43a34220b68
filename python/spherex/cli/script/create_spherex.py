"""``butler create-spherex``: an empty repository with our universe."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spherex.errors import RepositoryError, first_line

from . import user_errors

if TYPE_CHECKING:
    from lsst.resources import ResourcePath

_DIMENSIONS = "resource://spherex/configs/dimensions.yaml"


@user_errors()
def create_spherex(repo: str, seed_config: str) -> None:
    """Make an empty repository.

    Parameters
    ----------
    repo
        Path or URI of the new repository.
    seed_config
        Path or URI of the seed.
    """
    from lsst.daf.butler import Butler, Config
    from lsst.resources import ResourcePath

    root = ResourcePath(repo, forceAbsolute=True, forceDirectory=True)
    config = root.join("butler.yaml", forceDirectory=False)
    try:
        is_there, before = config.exists(), _entries(root)
    except OSError as error:
        # Of a directory that may not be searched.
        raise RepositoryError(_reason(repo, error)) from error
    if is_there:
        raise RepositoryError(f"There is a repository in {repo} already: use it, or choose another place.")
    try:
        seed = Config(seed_config)
    except Exception as error:
        # Readers of YAML raise exceptions of many kinds.
        raise RepositoryError(f"The seed {seed_config} cannot be read: {first_line(error)}.") from error
    try:
        Butler.makeRepo(root, config=seed, dimensionConfig=_DIMENSIONS, forceConfigRoot=False)
    except BaseException as error:
        # The Butler writes butler.yaml first, so that the rest looks like a repository. Ctrl-C too.
        _remove_new(root, config, before)
        if isinstance(error, Exception):
            raise RepositoryError(_reason(repo, error)) from error
        raise
    click.echo(f"Made an empty repository in {repo}.")


def _reason(repo: str, error: Exception) -> str:
    from spherex.repository import reason_of

    reason = reason_of(error) or first_line(error)
    return f"No repository was made in {repo}: {reason.removesuffix('.')}."


def _entries(root: ResourcePath) -> set[Path] | None:
    """Return what is in a local directory, `None` if it does not exist."""
    path = Path(root.ospath) if root.isLocal else None
    return set(path.iterdir()) if path is not None and path.is_dir() else None


def _remove_new(root: ResourcePath, config: ResourcePath, before: set[Path] | None) -> None:
    if not root.isLocal:
        if config.exists():
            config.remove()
        return
    for path in (_entries(root) or set()) - (before or set()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if before is None and root.exists():
        Path(root.ospath).rmdir()
