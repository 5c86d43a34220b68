"""What kinds of calibration products the archive has."""

from __future__ import annotations

__all__ = ["CALIBRATION_KINDS", "CalibrationContent", "content_of"]

import enum


class CalibrationContent(enum.Enum):
    """What a calibration file holds."""

    IMAGE = "one image of the detector"
    PARAMETERS = "several HDUs of parameters or tables"
    YAML = "YAML"


CALIBRATION_KINDS = {
    "abs_gain_matrix": CalibrationContent.IMAGE,
    "average_psf": CalibrationContent.PARAMETERS,
    "dark": CalibrationContent.IMAGE,
    "dichroic": CalibrationContent.IMAGE,
    "epsf": CalibrationContent.PARAMETERS,
    "gain_factors": CalibrationContent.YAML,
    "l3_flux_corrections": CalibrationContent.IMAGE,
    "nonfunc": CalibrationContent.IMAGE,
    "nonfunc_v2": CalibrationContent.IMAGE,
    "nonlinear_pars": CalibrationContent.PARAMETERS,
    "readnoise_pars": CalibrationContent.PARAMETERS,
    "solid_angle_pixel_map": CalibrationContent.IMAGE,
    "spectral_channels": CalibrationContent.PARAMETERS,
    "spectral_wcs": CalibrationContent.PARAMETERS,
}
"""Content of the calibration products whose layout is published.

Sources: Caltech-IPAC/spherex-archive-documentation, data products, for Quick
Release 2; the IRSA tutorials and users' readers for ``epsf``,
``l3_flux_corrections`` and ``spectral_channels``.
"""


def content_of(type_: str, extension: str) -> CalibrationContent:
    """Return what the files of a kind of calibration hold.

    Parameters
    ----------
    type_
        Kind of calibration by the archive's name.
    extension
        Extension of the file's name, ``fits`` or ``yaml``.

    Returns
    -------
    content : `CalibrationContent`
        Of kinds that are not known here, all HDUs of a FITS file.
    """
    if extension == "yaml":
        return CalibrationContent.YAML
    return CALIBRATION_KINDS.get(type_, CalibrationContent.PARAMETERS)
