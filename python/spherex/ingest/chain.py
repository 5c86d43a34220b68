"""The CHAINED collection that lists runs, the newest first."""

from __future__ import annotations

__all__ = ["link_run"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy.exc
from lsst.daf.butler import CollectionType, MissingCollectionError

from .errors import explain
from .options import IngestError

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

    from .policy import RunChain

_TRIES = 10


def link_run(butler: Butler, chain: RunChain, run: str) -> None:
    """See to it that a chain lists a run; that it does is fine.

    A new run comes before the first one that is older. All other children
    stay in their order, also those that are no runs of this kind.

    Parameters
    ----------
    butler
        The repository, writeable and in no transaction.
    chain
        The chain, which is made if it is not there.
    run
        A registered run.

    Raises
    ------
    IngestError
        Raised if there is a collection of that name that is no chain, or the
        repository cannot be written.
    """
    try:
        children = _children(butler, chain.name)
        if run in children:
            return
        # Another process may add a run between our look and our change. It
        # loses nothing, because only the children before the new one are put
        # in front again, but the order may need another turn.
        for _ in range(_TRIES):
            wanted = _with_run(chain, [child for child in children if child != run], run)
            if children == wanted:
                return
            butler.collections.prepend_chain(chain.name, wanted[: wanted.index(run) + 1])
            children = _children(butler, chain.name)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise IngestError(f"Collection {chain.name!r} cannot be changed: {explain(error)}.") from error


def _children(butler: Butler, name: str) -> list[str]:
    try:
        info = butler.collections.get_info(name)
    except MissingCollectionError:
        butler.collections.register(name, CollectionType.CHAINED)
        return []
    if info.type is not CollectionType.CHAINED:
        raise IngestError(
            f"Collection {name!r} of the repository is of type {info.type.name}, not CHAINED: remove or rename it."
        )
    return list(info.children)


def _with_run(chain: RunChain, others: Sequence[str], run: str) -> list[str]:
    """Children with the run among them."""
    age = chain.age_key(run)
    ages = {number: chain.age_key(other) for number, other in enumerate(others)}
    runs = [number for number, other_age in ages.items() if other_age is not None]
    older = [number for number in runs if ages[number] < age]
    place = older[0] if older else runs[-1] + 1 if runs else len(others)
    return [*others[:place], run, *others[place:]]
