"""Statistics of the database, which its query planner goes by."""

from __future__ import annotations

__all__ = ["refresh_statistics"]

from typing import TYPE_CHECKING

import sqlalchemy
from lsst.daf.butler import Butler, ButlerConfig
from lsst.daf.butler.registry import RegistryConfig

if TYPE_CHECKING:
    from lsst.resources import ResourcePath

_ROWS_LOOKED_AT = 2000
"""Rows of each index that SQLite looks at: enough to tell a few rows for each
value from many, at a cost that does not grow with the repository.
"""


def refresh_statistics(repo: str) -> None:
    """Let the database learn how its tables are filled, after much was added.

    A search for images at a position becomes ten times faster where an index
    was chosen badly before.

    Parameters
    ----------
    repo
        Path, URI or label of the repository. No process of ours may be in a
        transaction on it.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        Raised if the database is busy or does not allow it; nothing but speed
        is lost then.
    """
    # The connection of a Butler is its own affair: this is another one, made
    # from what the configuration says.
    uri: ResourcePath = Butler.get_repo_uri(repo, return_label=True)
    config = ButlerConfig(uri)
    registry = RegistryConfig(config)
    registry.replaceRoot(config.configDir)
    url = registry.connectionString
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with engine.begin() as connection:
        if url.get_backend_name() == "sqlite":
            connection.exec_driver_sql(f"PRAGMA analysis_limit={_ROWS_LOOKED_AT}")
        connection.exec_driver_sql("ANALYZE")
