"""Repositories: opening, checks and explanations of errors for every command."""

from __future__ import annotations

__all__ = [
    "NO_ANSWER",
    "RecordedFile",
    "data_query_errors",
    "dataset_id",
    "explain",
    "has_content_id",
    "has_room",
    "is_answering",
    "is_fatal",
    "is_without_answer",
    "open_repository",
    "owners_of",
    "protected_path",
    "quiet_ingest",
    "reason_of",
    "recorded_files",
    "recover",
    "refresh_statistics",
    "register_instrument",
    "repository_config",
]

import collections
import contextlib
import dataclasses
import errno
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import sqlalchemy
import sqlalchemy.exc
from lsst.daf.butler import (
    Butler,
    ButlerConfig,
    DatasetIdFactory,
    DatasetIdGenEnum,
    InvalidQueryError,
    MissingCollectionError,
    MissingDatasetTypeError,
    StorageClassFactory,
)
from lsst.daf.butler.datastores.chainedDatastore import ChainedDatastore
from lsst.daf.butler.registry import ConflictingDefinitionError, RegistryConfig
from lsst.utils.introspection import get_full_type_name

from spherex.errors import (
    NoRepositoryError,
    ReadOnlyError,
    RepositoryError,
    UserError,
    first_line,
)
from spherex.instrument import CREATE_COMMAND, NAMESPACE
from spherex.unknown_names import explain_query, missing_name, remember_name

if TYPE_CHECKING:
    from lsst.daf.butler import DataCoordinate, DatasetRef, DatasetType
    from lsst.pipe.base import Instrument
    from lsst.resources import ResourcePath
    from sqlalchemy.engine import URL


_LOG = logging.getLogger(__name__)

_ROWS_LOOKED_AT = 2000
"""Rows of each index that SQLite samples: enough to distinguish a few rows for
each value from many, at a cost that does not grow with the repository.
"""

_PATIENCE = 30.0
"""How long a command waits for a database server that does not answer (s)."""

_STORAGE_CLASS = "SPHERExImage"
"""A storage class of our configuration, which ``butler create`` alone does not have."""

_DEFAULT_NAMESPACE = "daf_butler"
"""Namespace of the universe of ``butler create`` without options."""

_ROOM = 2**20
"""More space than the tables of a new repository take (bytes)."""


_CONFIG_EXTENSIONS = (".yaml", ".json")
"""Ends of the names of configurations, which may stand for their repository."""


def repository_config(repo: str) -> ButlerConfig:
    """Read the configuration of a repository.

    Parameters
    ----------
    repo
        Path, URI or label.

    Returns
    -------
    config
        The configuration.
    """
    return ButlerConfig(Butler.get_repo_uri(repo, return_label=True))


def protected_path(config: ButlerConfig) -> str | None:
    """Return the write-protected file or directory of a database in a file.

    Parameters
    ----------
    config
        Configuration of the repository.

    Returns
    -------
    path
        Path of the file or its directory; None if neither is write-protected,
        or for a database server.
    """
    url = _database_url(config)
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    for path in (url.database, os.path.dirname(url.database)):
        if os.path.exists(path) and not os.access(path, os.W_OK):
            return path
    return None


def recover(config: ButlerConfig) -> None:
    """Let SQLite undo the unfinished transaction of a killed process.

    SQLite does so when the database is opened for writing. A read-only Butler
    cannot, and fails with the error of a read-only database.

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
    """Return whether a database in a file can grow.

    On a full disk the Butler fails to make its tables, but records that they
    exist, which makes the repository useless. So that must not be tried.

    Parameters
    ----------
    config
        Configuration of the repository.

    Returns
    -------
    has_room
        False if less than a megabyte is free; always true for a database
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
    """Refresh the statistics of the database, by which it chooses its indexes.

    After many additions, a search for images at a position becomes ten times
    faster where an index was chosen badly before. In the namespace of a
    database server, only the tables of this repository are analysed.

    Parameters
    ----------
    repo
        Path, URI or label. No Butler of this process may be in a transaction
        on it.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        If the database is busy or does not allow it; then searches
        stay slow.
    """
    # The connection of a Butler is private to it: this is another one.
    config = repository_config(repo)
    url = _database_url(config)
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    # In a transaction, PostgreSQL would keep the locks of all tables to the end,
    # and could wait for a writer that waits for one of them.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        statement = "ANALYZE"
        namespace = RegistryConfig(config).get("namespace")
        if url.get_backend_name() == "sqlite":
            connection.exec_driver_sql(f"PRAGMA analysis_limit={_ROWS_LOOKED_AT}")
        elif namespace is not None:
            tables = sqlalchemy.inspect(connection).get_table_names(schema=namespace)
            quote = engine.dialect.identifier_preparer.quote
            statement += " " + ", ".join(f"{quote(namespace)}.{quote(table)}" for table in tables)
        connection.exec_driver_sql(statement)


def _database_url(config: ButlerConfig) -> URL:
    registry = RegistryConfig(config)
    registry.replaceRoot(config.configDir)
    return registry.connectionString


NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of errors of full disks, and of files that are larger than a quota or limit."""

_BY_ERRNO = {
    **dict.fromkeys(NO_SPACE, "there is no space left; make room and run the same command again"),
    errno.EROFS: "the file system of the repository is read-only; ask its owner",
    errno.EXDEV: "it is on a different file system than the repository, so hard links fail; use --transfer copy",
    errno.EPERM: "the file system does not allow it; use --transfer copy",
    errno.EACCES: "no permission; ask the owner of the file or of the repository",
    errno.ENOENT: "it was removed after its header was read; check it and run the same command again",
}

_READ_ONLY = "the database of the repository is read-only; ask its owner"
_BUSY = "another process writes to the repository; run the same command again when it is done"
_NOT_UNIQUE = "another record has the same name or number; check the names and ids in the header"
_NO_ROLE = "the database does not know you; set LSST_DB_AUTH to a file with its URL, your role and the password"
_HALF_MADE = (
    "its database has no tables of a repository, because its creation failed or they were dropped; restore the "
    f"database from a backup, or remove butler.yaml and make another repository by {CREATE_COMMAND}"
)
_BY_DATABASE_TEXT = {
    "disk is full": _BY_ERRNO[errno.ENOSPC],
    "No space left on device": _BY_ERRNO[errno.ENOSPC],
    "disk I/O error": "the disk of the database does not work or is full; check it and run the same command again",
    "readonly database": _READ_ONLY,
    "in a read-only transaction": _READ_ONLY,
    "permission denied for": "the database does not allow it to your role; ask its owner",
    "database is locked": _BUSY,
    "deadlock detected": _BUSY,
    "lock timeout": _BUSY,
    "UNIQUE constraint": _NOT_UNIQUE,
    "violates unique constraint": _NOT_UNIQUE,
    "no such table: butler_attributes": _HALF_MADE,
    'butler_attributes" does not exist': _HALF_MADE,
    "in non-empty database": "its database or schema has tables of another repository, or of a creation that failed; "
    "drop them, or choose another registry.namespace",
    "password authentication failed": "the database does not accept the password; correct the file of LSST_DB_AUTH",
    "no password supplied": _NO_ROLE,
    'FATAL:  role "': _NO_ROLE,
    "has incorrect permissions": "others can read the file of LSST_DB_AUTH; run chmod 600 on it",
}
"""Explanations by a part of the message of SQLite, of PostgreSQL or of the Butler."""

NO_ANSWER = "the database does not answer; run the same command again when it does"
_NO_ANSWER_TEXTS = (
    "Connection refused",
    "Connection reset",
    "Connection timed out",
    "No route to host",
    "SSL connection has been closed",
    "SSL SYSCALL error",
    "connection already closed",
    "server closed the connection",
    "terminating connection",
    # It starts, stops or recovers.
    "the database system is ",
    "timeout expired",
    "too many clients",
    "connection slots are reserved",
)
"""Parts of messages of PostgreSQL's client and server."""

_FATAL_TEXTS = (
    "disk is full",
    "No space left on device",
    "disk I/O error",
    "readonly database",
    "in a read-only transaction",
    "permission denied for",
    "database is locked",
)


def is_fatal(error: BaseException) -> bool:
    """Return whether no other file can succeed after an error.

    Parameters
    ----------
    error
        Error of a write.

    Returns
    -------
    is_fatal
        True for full disks, read-only media and databases out of reach.
    """
    return any(
        (isinstance(cause, OSError) and cause.errno in (*NO_SPACE, errno.EROFS))
        or _is_from_absent_server(cause)
        or any(text in str(cause) for text in _FATAL_TEXTS)
        for cause in _chain(error)
    )


def explain(error: BaseException, distinguishing_option: str = "--output-run") -> str:
    """Return an explanation of an error in one line: the fault, and what to do.

    Parameters
    ----------
    error
        Error of a write.
    distinguishing_option
        Option that keeps datasets of equal data ID apart.
    """
    if isinstance(error, UserError):
        return str(error)
    if reason := reason_of(error):
        return reason
    first = first_line(error)
    if isinstance(error, ConflictingDefinitionError):
        return f"it contradicts the repository ({first}); choose another {distinguishing_option}"
    return f"{type(error).__name__}: {first}; nothing of it was ingested"


def reason_of(error: BaseException) -> str:
    """Return the explanation of an error of a disk, a datastore or a database.

    Parameters
    ----------
    error
        Error of a read or a write.

    Returns
    -------
    reason
        The fault, and what to do, in one line; empty for other errors.
    """
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in _BY_ERRNO:
            return _BY_ERRNO[cause.errno]
        if _is_from_absent_server(cause):
            return NO_ANSWER
        if isinstance(cause, NotImplementedError) and "Transfer mode" in str(cause):
            return "the datastore does not support this --transfer; use --transfer copy or auto"
        if isinstance(cause, FileNotFoundError):
            return _BY_ERRNO[errno.ENOENT]
        for text, meaning in _BY_DATABASE_TEXT.items():
            if text in str(cause):
                return meaning
    return ""


def is_without_answer(error: BaseException) -> bool:
    """Return whether an error is that of a database server which does not answer.

    Parameters
    ----------
    error
        Error of a read or a write.
    """
    return any(_is_from_absent_server(cause) for cause in _chain(error))


def _is_from_absent_server(error: BaseException) -> bool:
    """Return whether a database server is not there, or not yet, or no more, apart from the causes of the error."""
    return isinstance(error, sqlalchemy.exc.DBAPIError) and (
        error.connection_invalidated or any(text in str(error.orig) for text in _NO_ANSWER_TEXTS)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextlib.contextmanager
def open_repository(
    repo: str, writeable: bool, fields: Mapping[str, frozenset[str]] | None = None, stock_method: str = ""
) -> Iterator[Butler]:
    """Open a repository for files of SPHEREx.

    A database server that does not answer has half a minute to come back.

    Parameters
    ----------
    repo
        Path, URI or label.
    writeable
        Whether the command writes to it.
    fields
        Fields of dimension records that the universe must have, by element.
    stock_method
        Call of the stock Butler that serves other universes, for the message
        on a repository of another project.

    Yields
    ------
    butler
        The repository.

    Raises
    ------
    RepositoryError
        If it does not exist, was made with another universe, or may
        not be written; in the context, in place of the error of a missing
        collection or dataset type.
    """
    if os.path.isfile(repo) and not repo.endswith(_CONFIG_EXTENSIONS):
        raise NoRepositoryError(f"{repo} is a file, not a repository of the Butler.")
    try:
        config = repository_config(repo)
        if writeable:
            # Checked before the Butler logs many lines.
            path, root = protected_path(config), config.configDir
            if path is None and root is not None and root.isLocal and not os.access(root.ospath, os.W_OK):
                path = root.ospath
            if path is not None:
                raise ReadOnlyError(f"{repo} is read-only for you ({path}): ask its owner.")
            if not has_room(config):
                raise RepositoryError(
                    f"{repo} has no space left for its database: make room and run the same command again."
                )
        recover(config)
        _wait_for_server(config)
        butler = Butler.from_config(config, writeable=writeable)
    except RepositoryError:
        raise
    except FileNotFoundError as error:
        raise NoRepositoryError(
            f"{repo} is not a repository of the Butler ({first_line(error)}). Make one by: {CREATE_COMMAND} {repo}"
        ) from error
    except Exception as error:
        reason = reason_of(error) or f"{first_line(error)}; ask its owner"
        raise RepositoryError(f"{repo} cannot be opened: {reason}.") from error
    remember_name(butler, repo)
    with butler:
        _check_universe(butler, repo, fields or {}, stock_method)
        if writeable and _STORAGE_CLASS not in StorageClassFactory():
            raise RepositoryError(
                f"{repo} was made without the storage classes of SPHEREx. Make another repository by: "
                f"{CREATE_COMMAND} NEW_REPO"
            )
        try:
            yield butler
        except (MissingCollectionError, MissingDatasetTypeError) as error:
            raise RepositoryError(missing_name(butler, error)) from error


@contextlib.contextmanager
def reading(repo: Butler | str | os.PathLike[str] | ResourcePath) -> Iterator[Butler]:
    """Open a repository to read it; one that is open already stays so.

    Parameters
    ----------
    repo
        The repository, or its path, URI or label.

    Yields
    ------
    butler
        The repository.

    Raises
    ------
    RepositoryError
        As of `open_repository`.
    """
    if isinstance(repo, Butler):
        yield repo
    else:
        with open_repository(str(repo), writeable=False) as butler:
            yield butler


def has_datasets(butler: Butler, dataset_type: str, collection: str) -> bool:
    """Return whether a collection has a dataset of a type.

    Parameters
    ----------
    butler
        The repository.
    dataset_type
        Name of the dataset type.
    collection
        Name or pattern of the collection.
    """
    try:
        return bool(butler.query_datasets(dataset_type, collection, find_first=False, limit=1, explain=False))
    except MissingDatasetTypeError:
        return False


@contextlib.contextmanager
def data_query_errors(
    where: str,
    error_type: Callable[[str], UserError] = UserError,
    catalogs: Callable[[], Iterable[str]] = tuple,
) -> Iterator[None]:
    """Raise the error of a wrong data query as one of the user.

    Parameters
    ----------
    where
        The data query.
    error_type
        Type of the error.
    catalogs
        Function that returns the catalogues to propose for a query without one.
    """
    try:
        yield
    except InvalidQueryError as error:
        raise error_type(f"the condition {explain_query(where, error, catalogs())}") from None


def _wait_for_server(config: ButlerConfig) -> None:
    """Return when the database server of a repository answers; raise its last error if it does not."""
    url = _database_url(config)
    if url.get_backend_name() == "sqlite":
        return
    # The Butler would log lines for each attempt.
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    _wait_for_success(lambda: engine.connect().close())


@contextlib.contextmanager
def quiet_ingest() -> Iterator[None]:
    """Keep the Butler from logging each of its ingests, unless the user wants more lines than usual."""
    logger = logging.getLogger("lsst.daf.butler")
    level = logger.level
    if logger.getEffectiveLevel() == logging.INFO:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def is_answering(butler: Butler) -> bool:
    """Return whether the database answers, after half a minute at most.

    Parameters
    ----------
    butler
        The repository, outside of a transaction. What it remembers of the
        database is read again.
    """
    try:
        _wait_for_success(butler.registry.refresh)
    except sqlalchemy.exc.DBAPIError as error:
        if not is_without_answer(error):
            raise
        return False
    return True


def _wait_for_success(ask: Callable[[], None]) -> None:
    """Ask a database server until it answers; raise its last error if it does not."""
    deadline = time.monotonic() + _PATIENCE
    is_first = True
    while True:
        try:
            ask()
        except sqlalchemy.exc.DBAPIError as error:
            if time.monotonic() > deadline or not is_without_answer(error):
                raise
        else:
            return
        if is_first:
            _LOG.warning("The database does not answer; waiting for it, %g s at most.", _PATIENCE)
            is_first = False
        time.sleep(min(1.0, _PATIENCE / 10))


def _check_universe(butler: Butler, repo: str, fields: Mapping[str, frozenset[str]], stock_method: str = "") -> None:
    universe = butler.dimensions
    name = f"{universe.namespace!r} version {universe.version}"
    if universe.namespace != NAMESPACE:
        # The default universe is that of a repository which was made without our options; any other one is there on
        # purpose.
        if universe.namespace == _DEFAULT_NAMESPACE:
            remedy = f"Make another repository by: {CREATE_COMMAND} NEW_REPO"
        else:
            remedy = "This command is for repositories of SPHEREx only."
            remedy += f" In this one, use in Python: {stock_method}" if stock_method else ""
        raise RepositoryError(f"{repo} was made with the dimension universe {name}, not {NAMESPACE!r}. {remedy}")
    for element, wanted in fields.items():
        have = universe[element].schema.names if element in universe.elements.names else ()
        missing = sorted(wanted.difference(have))
        if missing or not have:
            raise RepositoryError(
                f"{repo} was made with the dimension universe {name}, which lacks "
                f"{', '.join(f'{element}.{field}' for field in missing) or element}. "
                f"Make another repository by: {CREATE_COMMAND} NEW_REPO"
            )


def register_instrument(butler: Butler, repo: str, instrument: type[Instrument]) -> None:
    """Register an instrument with its detectors; do nothing if it exists.

    Parameters
    ----------
    butler
        The repository, writeable.
    repo
        Its name for messages.
    instrument
        The instrument.

    Raises
    ------
    RepositoryError
        If the repository has another definition, or cannot be written.
    """
    try:
        instrument().register(butler.registry)
    except ConflictingDefinitionError as error:
        raise RepositoryError(
            f"{repo} has another definition of instrument {instrument.getName()!r}. If this version of spherex_butler "
            f"is right: butler register-instrument --update {repo} {get_full_type_name(instrument)}"
        ) from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise RepositoryError(f"The instrument cannot be registered in {repo}: {explain(error)}.") from error


_IDS = DatasetIdFactory()
_BY_NAME = 5
"""Version of the UUIDs that `uuid.uuid5` makes."""


def dataset_id(dataset_type: DatasetType, run: str, data_id: DataCoordinate, content: str = "") -> uuid.UUID:
    """Return the id of the dataset that a file becomes.

    Parameters
    ----------
    dataset_type, run, data_id
        Place of the dataset.
    content
        Fingerprint of the content of the file. Another content is another
        dataset, so that data products show which one they were made from.
        Without it the id is the one that ``DATAID_TYPE_RUN`` of the Butler
        gives.
    """
    id_ = _IDS.makeDatasetId(run, dataset_type, data_id, DatasetIdGenEnum.DATAID_TYPE_RUN)
    return uuid.uuid5(id_, content) if content else id_


def has_content_id(ref: DatasetRef) -> bool:
    """Return whether the id of a dataset identifies its content.

    Others were assigned elsewhere, or follow from the data ID alone, as in
    earlier versions of this package and after ``butler ingest-files``.

    Parameters
    ----------
    ref
        The dataset.
    """
    modes = DatasetIdGenEnum.DATAID_TYPE_RUN, DatasetIdGenEnum.DATAID_TYPE
    others = (_IDS.makeDatasetId(ref.run, ref.datasetType, ref.dataId, mode) for mode in modes)
    return ref.id.version == _BY_NAME and ref.id not in others


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedFile:
    """File of a dataset as a datastore records it.

    Parameters
    ----------
    datastore
        Name of the datastore; that of a member of a chained datastore.
    path
        Path below the root of the datastore; a URI for a file outside of it.
    size
        Size of the file when it was ingested (bytes); negative if it was not
        recorded.
    """

    datastore: str
    path: str
    size: int


def recorded_files(butler: Butler, refs: Collection[DatasetRef]) -> dict[uuid.UUID, list[RecordedFile]]:
    """Return what the datastores record of the files of datasets.

    A private attribute of the Butler is used: no public call gives the sizes,
    or the files in all members of a chained datastore.

    Parameters
    ----------
    butler
        The repository.
    refs
        The datasets.

    Returns
    -------
    files
        Files by dataset id; no entry for a dataset without a file.

    Raises
    ------
    RepositoryError
        If this version of daf_butler does not have it.
    """
    files: dict[uuid.UUID, list[RecordedFile]] = {}
    try:
        for name, data in butler._datastore.export_records(refs).items():
            for dataset_id, tables in data.records.items():
                files.setdefault(dataset_id, []).extend(
                    RecordedFile(name, info.path, info.file_size)  # type: ignore[attr-defined]
                    for infos in tables.values()
                    for info in infos
                )
    except (AttributeError, NotImplementedError) as error:
        raise RepositoryError(_private_is_gone(error)) from error
    return files


def owners_of(butler: Butler, uris: Iterable[str]) -> dict[str, set[uuid.UUID]]:
    """Find the datasets that are files outside of the datastores.

    Private attributes of the Butler are used: no public call finds a dataset
    by its file.

    Parameters
    ----------
    butler
        The repository.
    uris
        URIs of files.

    Returns
    -------
    owners
        Ids of the datasets by URI, for all members of a chained datastore.

    Raises
    ------
    RepositoryError
        If this version of daf_butler does not have them.
    """
    owners: dict[str, set[uuid.UUID]] = collections.defaultdict(set)
    wanted = list(uris)
    try:
        waiting = [butler._datastore]
        while waiting:
            datastore = waiting.pop()
            if isinstance(datastore, ChainedDatastore):
                waiting += datastore.datastores
            elif not datastore.isEphemeral:
                for uri, ids in datastore._refs_associated_with_artifacts(wanted).items():  # type: ignore[attr-defined]
                    owners[uri] |= ids
    except (AttributeError, NotImplementedError) as error:
        raise RepositoryError(_private_is_gone(error)) from error
    return owners


def _private_is_gone(error: Exception) -> str:
    return (
        f"The installed version of lsst-daf-butler does not show where files are ({error!r}): install the version that "
        "spherex_butler was tested with, see its pyproject.toml."
    )
