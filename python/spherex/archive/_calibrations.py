"""What kinds of calibration products the archive has."""

from __future__ import annotations

__all__ = ["CALIBRATION_KINDS", "CBAND", "CWAVE", "CalibrationContent", "CalibrationHDU", "CalibrationKind", "kind_of"]

import dataclasses
import enum

from ..instrument import FRAME_SIDE
from ._observation import ArchiveNameError

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


_FRAME = (FRAME_SIDE, FRAME_SIDE)
_IMAGE = CalibrationKind(CalibrationContent.IMAGE, (CalibrationHDU(None, _FRAME),), is_per_detector=True)


def _parameters(*hdus: CalibrationHDU) -> CalibrationKind:
    return CalibrationKind(CalibrationContent.PARAMETERS, hdus, is_per_detector=True)


def _maps(*names: str) -> CalibrationKind:
    return _parameters(*(CalibrationHDU(name, _FRAME) for name in names))


_UNKNOWN = CalibrationKind(CalibrationContent.PARAMETERS)
_YAML = CalibrationKind(CalibrationContent.YAML)

CALIBRATION_KINDS = {
    "abs_gain_matrix": _IMAGE,
    "average_psf": _parameters(CalibrationHDU(None, (121, 101, 101))),
    "dark": _IMAGE,
    "dichroic": _IMAGE,
    "epsf": _parameters(CalibrationHDU("EPSF", None)),
    "gain_factors": _YAML,
    "l3_flux_corrections": _IMAGE,
    "nonfunc": _IMAGE,
    "nonfunc_v2": _IMAGE,
    "nonlinear_pars": _maps("Q_NL", "B1", "B2", "B3", "QMAX"),
    "readnoise_pars": _maps("READNOISE-1", "READNOISE-2"),
    "solid_angle_pixel_map": _IMAGE,
    "spectral_channels": _UNKNOWN,
    # The table WCS-WAVE of the documentation is in each Level 2 image too.
    "spectral_wcs": _maps(CWAVE, CBAND),
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
