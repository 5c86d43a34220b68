"""The SPHEREx telescope as an instrument."""

from __future__ import annotations

__all__ = ["SPHEREx"]

from typing import ClassVar

from .base import SPHERExInstrument


class SPHEREx(SPHERExInstrument):
    """Source of the images in the public archive.

    The id of an exposure is EXPIDN without its last digit, the detector, and
    its name is OBSID; see `spherex.archive.ObservationId`.
    """

    name = "SPHEREx"
    exposure_max = 10**14
    detector_name = "D{id}"

    level2_collection: ClassVar[str] = "SPHEREx/level2"
    """CHAINED collection of the processing runs of Level 2 images, the newest
    first; ``/`` and the name of the run make the name of its RUN collection.
    """
