"""SPHEREx datasets in ObsCore tables.

``lsst.daf.butler`` and ``lsst.dax.obscore`` find the functions as entry points
for the namespace of our dimension universe.
"""

from __future__ import annotations

__all__ = ["get_record_factory", "get_siav2_handler"]

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsst.daf.butler.registry.obscore import RecordFactory
    from lsst.dax.obscore.siav2 import SIAv2Handler


def get_record_factory() -> type[RecordFactory]:
    """Return the class that makes records of datasets (entry point ``butler.obscore_factory``)."""
    from .records import SPHERExRecordFactory

    return SPHERExRecordFactory


def get_siav2_handler() -> type[SIAv2Handler]:
    """Return the class that answers SIAv2 queries (entry point ``dax_obscore.siav2``)."""
    from .siav2 import SPHERExSIAv2Handler

    return SPHERExSIAv2Handler
