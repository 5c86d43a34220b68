"""Calibration products of the archive, and the references to them in images."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import re
import uuid
from collections.abc import Iterable

from spherex.detectors import (
    AVERAGE_PSF_TYPE,
    EPSF_TYPE,
    FLUX_CORRECTIONS_TYPE,
    FRAME_SHAPE,
    SOLID_ANGLE_TYPE,
    SPECTRAL_CHANNELS_TYPE,
    SPECTRAL_WCS_TYPE,
)
from spherex.errors import ArchiveNameError

CWAVE = "CWAVE"
CBAND = "CBAND"
"""Central wavelengths and bandwidths of all pixels, in the calibration spectral_wcs."""


class CalibrationContent(enum.Enum):
    """What a calibration file holds."""

    IMAGE = "one image of the detector"
    PARAMETERS = "several HDUs of parameters or tables"
    YAML = "YAML"


@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationHDU:
    """An HDU without which a calibration cannot be used.

    Parameters
    ----------
    name
        EXTNAME in upper case; `None` for the first image or table, whatever
        its name.
    shape
        Shape of the image, slowest axis first; `None` for a table.
    """

    name: str | None
    shape: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationKind:
    """What the files of a kind of calibration hold.

    Parameters
    ----------
    content
        What it is on the whole.
    hdus
        HDUs that have to be there; others may.
    is_per_detector
        Whether each detector has its own file; else there may be one for all.
    """

    content: CalibrationContent
    hdus: tuple[CalibrationHDU, ...] = ()
    is_per_detector: bool = False


_IMAGE = CalibrationKind(CalibrationContent.IMAGE, (CalibrationHDU(None, FRAME_SHAPE),), is_per_detector=True)


def _parameters(*hdus: CalibrationHDU) -> CalibrationKind:
    return CalibrationKind(CalibrationContent.PARAMETERS, hdus, is_per_detector=True)


def _maps(*names: str) -> CalibrationKind:
    return _parameters(*(CalibrationHDU(name, FRAME_SHAPE) for name in names))


_UNKNOWN = CalibrationKind(CalibrationContent.PARAMETERS)
_YAML = CalibrationKind(CalibrationContent.YAML)

CALIBRATION_KINDS = {
    "abs_gain_matrix": _IMAGE,
    AVERAGE_PSF_TYPE: _parameters(CalibrationHDU(None, (121, 101, 101))),
    "dark": _IMAGE,
    "dichroic": _IMAGE,
    EPSF_TYPE: _parameters(CalibrationHDU("EPSF", None)),
    "gain_factors": _YAML,
    FLUX_CORRECTIONS_TYPE: _IMAGE,
    "nonfunc": _IMAGE,
    "nonfunc_v2": _IMAGE,
    "nonlinear_pars": _maps("Q_NL", "B1", "B2", "B3", "QMAX"),
    "readnoise_pars": _maps("READNOISE-1", "READNOISE-2"),
    SOLID_ANGLE_TYPE: _IMAGE,
    SPECTRAL_CHANNELS_TYPE: _UNKNOWN,
    # The table WCS-WAVE of the documentation is in each Level 2 image too.
    SPECTRAL_WCS_TYPE: _maps(CWAVE, CBAND),
}
"""Content of the calibration products whose layout is published.

Sources: Caltech-IPAC/spherex-archive-documentation, data products, for Quick
Release 2; the IRSA tutorials and users' readers for ``epsf``,
``l3_flux_corrections`` and ``spectral_channels``.
"""


def kind_of(type_: str, extension: str) -> CalibrationKind:
    """Return what the files of a kind of calibration hold.

    Parameters
    ----------
    type_
        Kind of calibration by the archive's name.
    extension
        Extension of the file's name, ``fits`` or ``yaml``.

    Returns
    -------
    kind : `CalibrationKind`
        Of kinds that are not known here, all HDUs of a FITS file.

    Raises
    ------
    ArchiveNameError
        If files of that kind have the other extension.
    """
    is_yaml = extension == "yaml"
    kind = CALIBRATION_KINDS.get(type_, _YAML if is_yaml else _UNKNOWN)
    if (kind.content is CalibrationContent.YAML) is not is_yaml:
        raise ArchiveNameError(f"a {type_} of the archive is {'FITS' if is_yaml else 'YAML'}, not {extension}")
    return kind


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
