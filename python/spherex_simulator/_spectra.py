"""Spectra of black bodies."""

from __future__ import annotations

__all__ = ["black_body"]

import numpy as np
from astropy import constants

_PLANCK = (constants.h * constants.c / constants.k_B).to_value("um K")


def black_body(wavelength: np.ndarray, temperature: float | np.ndarray, reference: float) -> np.ndarray:
    """Return the spectrum of a black body, per unit frequency.

    Parameters
    ----------
    wavelength
        Wavelength, um.
    temperature
        Temperature, K.
    reference
        Wavelength where the spectrum is 1, um.
    """
    exponent = _PLANCK / temperature
    return (wavelength / reference) ** -3 * np.expm1(exponent / reference) / np.expm1(exponent / wavelength)
