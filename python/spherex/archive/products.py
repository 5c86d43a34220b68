"""Calibration products of the archive, and the references to them in image headers."""

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
"""HDU of the central wavelengths of all pixels, in the calibration spectral_wcs."""

CBAND = "CBAND"
"""HDU of their bandwidths."""


class CalibrationContent(enum.Enum):
    """Content of a calibration file."""

    IMAGE = "one image of the detector"
    PARAMETERS = "several HDUs of parameters or tables"
    YAML = "YAML"


@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationHDU:
    """HDU that a calibration file must contain.

    Parameters
    ----------
    name
        EXTNAME in upper case; `None` for the first image or table of any name.
    shape
        Shape of the image, the slowest axis first; `None` for a table.
    """

    name: str | None
    shape: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationKind:
    """Layout of the files of a kind of calibration.

    Parameters
    ----------
    content
        Content.
    hdus
        Required HDUs; a file may contain more.
    is_per_detector
        Whether each detector has a file of its own. Otherwise one file may
        serve all detectors.
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
    # Its table WCS-WAVE is not required: each Level 2 image contains one.
    SPECTRAL_WCS_TYPE: _maps(CWAVE, CBAND),
}
"""Kinds of calibration with a published layout.

Sources: Caltech-IPAC/spherex-archive-documentation, data products, for Quick
Release 2; the IRSA tutorials and readers in public programs for ``epsf``,
``l3_flux_corrections`` and ``spectral_channels``.
"""


def kind_of(type_: str, extension: str) -> CalibrationKind:
    """Return the layout of the files of a kind of calibration.

    Parameters
    ----------
    type_
        Kind of calibration.
    extension
        Extension of the file name, ``fits`` or ``yaml``.

    Returns
    -------
    kind
        For an unknown kind, a FITS file of any HDUs or a YAML file.

    Raises
    ------
    ArchiveNameError
        If files of that kind have another extension.
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
    """Calibration that the mission's pipeline used for an image.

    Parameters
    ----------
    type
        Kind of calibration, such as spectral_wcs.
    id
        Dataset id in the repository of that pipeline.
    """

    type: str
    id: uuid.UUID

    def __str__(self) -> str:
        return f"[CALIB] {self.type} {self.id}"


def calibration_references(history: Iterable[str]) -> tuple[CalibrationReference, ...]:
    """Return the calibrations in the HISTORY lines of an image.

    Parameters
    ----------
    history
        Texts of the HISTORY cards.

    Returns
    -------
    references
        Each calibration once, in the order of the header. Several steps of the
        pipeline list the same one.
    """
    matches = filter(None, map(_LINE.match, history))
    return tuple(dict.fromkeys(CalibrationReference(match["type"], uuid.UUID(match["id"])) for match in matches))


def time_of_uuid(id_: uuid.UUID) -> datetime.datetime | None:
    """Return the time in a dataset id.

    Parameters
    ----------
    id_
        Dataset id. A UUID of version 7 begins with the milliseconds since 1970
        (RFC 9562, section 5.7).

    Returns
    -------
    time
        UTC; `None` for UUIDs of other versions.
    """
    if id_.version != _VERSION_WITH_TIME:
        return None
    return datetime.datetime.fromtimestamp((id_.int >> 80) / 1000, datetime.UTC)
