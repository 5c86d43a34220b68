"""The database of a repository, seen from outside of the Butler."""

from __future__ import annotations

__all__ = ["has_room", "protected_path", "recover", "refresh_statistics", "repository_config"]

import os
import tempfile
from typing import TYPE_CHECKING

import sqlalchemy
from lsst.daf.butler import Butler, ButlerConfig
from lsst.daf.butler.registry import RegistryConfig

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_ROWS_LOOKED_AT = 2000
"""Rows of each index that SQLite looks at: enough to tell a few rows for each
value from many, at a cost that does not grow with the repository.
"""

_ROOM = 2**20
"""Room that the tables of a new repository take (bytes), generously."""


def repository_config(repo: str) -> ButlerConfig:
    """Read the configuration of a repository.

    Parameters
    ----------
    repo
        Path, URI or label.

    Returns
    -------
    lsst.daf.butler.ButlerConfig
        The configuration.
    """
    return ButlerConfig(Butler.get_repo_uri(repo, return_label=True))


def protected_path(config: ButlerConfig) -> str | None:
    """Find out whether a database in a file is write-protected.

    Parameters
    ----------
    config
        Configuration of the repository.

    Returns
    -------
    str or None
        What is write-protected, the file or its directory; None if they are
        not, or for a database server.
    """
    url = _database_url(config)
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    for path in (url.database, os.path.dirname(url.database)):
        if os.path.exists(path) and not os.access(path, os.W_OK):
            return path
    return None


def recover(config: ButlerConfig) -> None:
    """Let SQLite undo what a killed process left half-written.

    It does so whenever the database is opened for writing. A Butler that is
    to read only cannot, and complains of a read-only database.

    Parameters
    ----------
    config
        Configuration of the repository.
    """
    url = _database_url(config)
    if url.get_backend_name() == "sqlite" and url.database and os.path.exists(f"{url.database}-journal"):
        with sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool).begin() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")


def has_room(config: ButlerConfig) -> bool:
    """Find out whether a database in a file can grow.

    If the Butler cannot make its tables it nevertheless records that it has
    them, and the repository is of no use any more. So that is not tried on a
    disk that is full.

    Parameters
    ----------
    config
        Configuration of the repository.

    Returns
    -------
    bool
        False if there is no room for a megabyte; always true for a database
        server.
    """
    url = _database_url(config)
    if url.get_backend_name() != "sqlite" or not url.database:
        return True
    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(url.database)) as probe:
            os.posix_fallocate(probe.fileno(), 0, _ROOM)
    except OSError:
        return False
    return True


def refresh_statistics(repo: str) -> None:
    """Let the database learn how its tables are filled, after much was added.

    A search for images at a position becomes ten times faster where an index
    was chosen badly before.

    Parameters
    ----------
    repo
        Path, URI or label. No Butler of this process may be in a transaction
        on it.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        Raised if the database is busy or does not allow it; nothing but speed
        is lost then.
    """
    # The connection of a Butler is its own affair: this is another one.
    url = _database_url(repository_config(repo))
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with engine.begin() as connection:
        if url.get_backend_name() == "sqlite":
            connection.exec_driver_sql(f"PRAGMA analysis_limit={_ROWS_LOOKED_AT}")
        connection.exec_driver_sql("ANALYZE")


def _database_url(config: ButlerConfig) -> URL:
    registry = RegistryConfig(config)
    registry.replaceRoot(config.configDir)
    return registry.connectionString
