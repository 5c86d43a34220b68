"""The repository that files are to go into."""

from __future__ import annotations

__all__ = ["open_repository", "register_instrument"]

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import sqlalchemy.exc
from lsst.daf.butler import Butler
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.utils.introspection import get_full_type_name

from .database import has_room, protected_path, recover, repository_config
from .errors import explain, is_fatal
from .options import IngestError

if TYPE_CHECKING:
    from lsst.daf.butler import ButlerConfig
    from lsst.pipe.base import Instrument

_NAMESPACE = "spherex"
_CREATE = (
    "butler create --override --seed-config resource://spherex/configs/butler.yaml "
    "--dimension-config resource://spherex/configs/dimensions.yaml"
)


@contextlib.contextmanager
def open_repository(repo: str, writeable: bool, fields: Mapping[str, frozenset[str]] | None = None) -> Iterator[Butler]:
    """Open a repository that is fit for files of SPHEREx.

    Parameters
    ----------
    repo
        Path, URI or label.
    writeable
        Whether something is to be written.
    fields
        Fields of dimension records that it must have, by element.

    Yields
    ------
    lsst.daf.butler.Butler
        The repository.

    Raises
    ------
    IngestError
        Raised if it does not exist, was made with another universe, or may
        not be written.
    """
    try:
        config = repository_config(repo)
        if writeable:
            _check_writeable(config, repo)
        recover(config)
        butler = Butler.from_config(config, writeable=writeable)
    except IngestError:
        raise
    except FileNotFoundError as error:
        raise IngestError(
            f"{repo} is not a repository of the Butler ({_first_line(error)}). Make one by: {_CREATE} {repo}"
        ) from error
    except Exception as error:
        reason = explain(error) if is_fatal(error) else f"{_first_line(error)}; ask its owner"
        raise IngestError(f"{repo} cannot be opened: {reason}.") from error
    with butler:
        _check_universe(butler, repo, fields or {})
        yield butler


def _check_universe(butler: Butler, repo: str, fields: Mapping[str, frozenset[str]]) -> None:
    universe = butler.dimensions
    name = f"{universe.namespace!r} version {universe.version}"
    if universe.namespace != _NAMESPACE:
        raise IngestError(
            f"{repo} was made with the dimension universe {name}, not {_NAMESPACE!r}. "
            f"Make another repository by: {_CREATE} NEW_REPO"
        )
    for element, wanted in fields.items():
        have = universe[element].schema.names if element in universe.elements.names else ()
        missing = sorted(wanted.difference(have))
        if missing or not have:
            raise IngestError(
                f"{repo} was made with the dimension universe {name}, which lacks "
                f"{', '.join(f'{element}.{field}' for field in missing) or element}. "
                f"Make another repository by: {_CREATE} NEW_REPO"
            )


def _check_writeable(config: ButlerConfig, repo: str) -> None:
    """Find out before the Butler does, which logs more than one line."""
    path = protected_path(config)
    root = config.configDir
    if path is None and root is not None and root.isLocal and not os.access(root.ospath, os.W_OK):
        path = root.ospath
    if path is not None:
        raise IngestError(f"{repo} is read-only for you ({path}): ask its owner, or use --dry-run.")
    if not has_room(config):
        raise IngestError(f"{repo} has no space left for its database: make room and give the same command again.")


def register_instrument(butler: Butler, repo: str, instrument: type[Instrument]) -> None:
    """Register an instrument with its detectors; that it is there is fine.

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
    IngestError
        Raised if the repository knows it differently or cannot be written.
    """
    try:
        instrument().register(butler.registry)
    except ConflictingDefinitionError as error:
        raise IngestError(
            f"{repo} knows instrument {instrument.getName()!r} differently. If this version of spherex_butler is "
            f"right: butler register-instrument --update {repo} {get_full_type_name(instrument)}"
        ) from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise IngestError(f"The instrument cannot be registered in {repo}: {explain(error)}.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
