"""Which calibrations an image was made with, by its own header."""

from __future__ import annotations

__all__ = ["CalibrationReference", "calibration_references", "time_of_uuid"]

import dataclasses
import datetime
import re
import uuid
from collections.abc import Iterable

_LINE = re.compile(r"\[CALIB\]\s+(?P<type>\S+)\s+(?P<id>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})\s*$")
_VERSION_WITH_TIME = 7


@dataclasses.dataclass(frozen=True, order=True, slots=True)
class CalibrationReference:
    """One calibration that the mission's pipeline used for an image.

    Parameters
    ----------
    type
        Kind of calibration by the archive's name, such as spectral_wcs.
    id
        Its dataset id in the repository of that pipeline.
    """

    type: str
    id: uuid.UUID

    def __str__(self) -> str:
        return f"[CALIB] {self.type} {self.id}"


def calibration_references(history: Iterable[str]) -> tuple[CalibrationReference, ...]:
    """Find the calibrations among the HISTORY lines of an image.

    Parameters
    ----------
    history
        Texts of the HISTORY cards, in their order.

    Returns
    -------
    references : `tuple` [`CalibrationReference`]
        Each once, in the order of the header: several steps of the pipeline
        use and list the same calibration.
    """
    matches = filter(None, map(_LINE.match, history))
    return tuple(dict.fromkeys(CalibrationReference(match["type"], uuid.UUID(match["id"])) for match in matches))


def time_of_uuid(id_: uuid.UUID) -> datetime.datetime | None:
    """Return when a dataset id was made.

    Parameters
    ----------
    id_
        The id. Those of version 7 begin with the milliseconds since 1970
        (RFC 9562, section 5.7); the others tell no time.

    Returns
    -------
    time : `datetime.datetime` or `None`
        UTC.
    """
    if id_.version != _VERSION_WITH_TIME:
        return None
    return datetime.datetime.fromtimestamp((id_.int >> 80) / 1000, datetime.UTC)
