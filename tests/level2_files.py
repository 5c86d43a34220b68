"""Small files of the form of the archive's Level 2 images, written byte by byte.

The cards are those of genuine files; pixels, PSFs and wavelengths are made up.
Nothing of the package is used, so that what it reads is not what it wrote.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
from astropy.io import fits

FRAME = 2040

_STORAGE = """\
XTENSION= 'IMAGE   '           / Image extension
BITPIX  =                  {bitpix:3d} / array data type
NAXIS   =                    {naxis} / number of array dimensions
{axes}
PCOUNT  =                    0 / number of parameters
GCOUNT  =                    1 / number of groups"""

_PRIMARY = """\
SIMPLE  =                    T / conforms to FITS standard
BITPIX  =                    8 / array data type
NAXIS   =                    0 / number of array dimensions
EXTEND  =                    T
VERSION = '{version:8}' / SSDC Pipelines software version"""

_IMAGE = """\
EXTNAME = 'IMAGE   '           / extension name
EXTTYPE = 'IMAGE   '           / Extension supports mask overlay
BUNIT   = 'MJy / sr'           / Unit of pixel value
DETECTOR=                    1 / 1-3: SWIR, 4-6: MWIR
OBSID   = '2025W51_1A_0684_2'  / Observation ID
EXPIDN  =      202551101068421 / Integer Exposure ID
DATE    = '2025-12-21T07:46:20.948' / HDU creation time (UTC)
TSAMP   =               1.5349 / [s] Interval between pixel readouts (frame)
HIERARCH NVISITROW = 4 / Number of visits to each reference row
HIERARCH SPS_TARGET = 87514 / Target ID assigned by Survey Planning
HIERARCH SPS_FLAGS = 'all_sky ' / Flags defined by Survey Planning
HIERARCH NON_SURVEY = 'False   ' / Observation is not part of a science survey
SPS_ELON= 22.500000 / [deg] Ecliptic longitude of planned telescope boresight
HIERARCH X_SC_START = 5202.549456378194 / [km] Exposure START x position
X_SC    =    5481.951086440418 / [km] Exposure MID x position
HIERARCH L2 N_PERSIST = 8406 / number of pixels flagged persist
DETCOORD= 'sky     '           / MWIR pixels flipped on X to match SWIR view
HIERARCH OMEGA_MEDIAN = 37.861739642774666 /  [arcsec**2] solid angle pixel map
DAXIS   =   1.3391179933075352
HIERARCH CONTRAST =                 76.6
HIERARCH ASTRONETSOLVED = T
HIERARCH REFCAT.VERSION = 'SPHEREx_RefCat_v0.73' / Reference catalog version
{wcs}
COMMENT TELAPSE ends at MJD-END, starts prior to MJD-BEG:
COMMENT   includes discarded frames
HISTORY GDS Image Association, SSDC-MS-002 v2.1.1
HISTORY [CALIB] dichroic 2acbff5a-51ba-4e28-a8df-95cd8260f966
HISTORY [CALIB] gain_factors 74478304-abf1-4a9c-9eb2-926090a84446
HISTORY [CALIB] spectral_wcs 0d47d467-abe7-4583-b55d-3e9357b06aae
HISTORY Create Variance Map, SSDC-MS-011 v4.2
HISTORY [CALIB] average_psf 5ee7f8cd-ca95-4209-bfc4-e8045100dd54
HISTORY [CALIB] spectral_wcs 0d47d467-abe7-4583-b55d-3e9357b06aae"""

_WCS = """\
RADESYS = 'ICRS    '           / Equatorial coordinate system
WCSAXES =                    2 / Number of coordinate axes
CRPIX1  = {crpix1:20} / Pixel coordinate of reference point
CRPIX2  = {crpix2:20} / Pixel coordinate of reference point
PC1_1   =    -0.00159374067214 / Coordinate transformation matrix element
PC1_2   =   -0.000557799500245 / Coordinate transformation matrix element
PC2_1   =   -0.000619643762111 / Coordinate transformation matrix element
PC2_2   =      0.0016160742573 / Coordinate transformation matrix element
CDELT1  =                  1.0 / [deg] Coordinate increment at reference point
CDELT2  =                  1.0 / [deg] Coordinate increment at reference point
CUNIT1  = 'deg'                / Units of coordinate increment and value
CUNIT2  = 'deg'                / Units of coordinate increment and value
CTYPE1  = 'RA---TAN-SIP'       / TAN (gnomonic) projection + SIP distortions
CTYPE2  = 'DEC--TAN-SIP'       / TAN (gnomonic) projection + SIP distortions
CRVAL1  =         308.30920816 / [deg] Coordinate value at reference point
CRVAL2  =        39.9952624964 / [deg] Coordinate value at reference point
LONPOLE =                180.0 / [deg] Native longitude of celestial pole
LATPOLE =        39.9952624964 / [deg] Native latitude of celestial pole
A_ORDER =                    3 / SIP polynomial order, axis 0, detector to sky
A_0_0   =       0.384454138693 / SIP distortion coefficient
A_0_1   =   -9.52783951809E-06 / SIP distortion coefficient
A_1_1   =    4.16955402962E-06 / SIP distortion coefficient
A_2_0   =   -1.61216453969E-06 / SIP distortion coefficient
A_3_0   =     5.3982925039E-10 / SIP distortion coefficient
B_ORDER =                    3 / SIP polynomial order, axis 1, detector to sky
B_0_0   =       -1.18610385752 / SIP distortion coefficient
B_0_1   =   -0.000419956224981 / SIP distortion coefficient
B_0_2   =     1.9870054636E-06 / SIP distortion coefficient
B_2_0   =    6.67675687975E-06 / SIP distortion coefficient
AP_ORDER=                    3 / SIP polynomial order, axis 0, sky to detector
AP_0_0  =      -0.382345133147 / SIP distortion coefficient
BP_ORDER=                    3 / SIP polynomial order, axis 1, sky to detector
BP_0_0  =        1.18160805099 / SIP distortion coefficient
WCSAXESA=                    2 / Number of coordinate axes
CRPIX1A = {crpix1a:20} / Pixel coordinate of reference point
CRPIX2A = {crpix2a:20} / Pixel coordinate of reference point
CDELT1A =                  1.0 / [pixel] Coordinate increment at reference point
CDELT2A =                  1.0 / [pixel] Coordinate increment at reference point
CUNIT1A = 'pixel'              / Units of coordinate increment and value
CUNIT2A = 'pixel'              / Units of coordinate increment and value
CTYPE1A = 'LINEAR'             / Coordinate type code
CTYPE2A = 'LINEAR'             / Coordinate type code
CRVAL1A =                  0.0 / [pixel] Coordinate value at reference point
CRVAL2A =                  0.0 / [pixel] Coordinate value at reference point
LATPOLEA=                 90.0 / [deg] Native latitude of celestial pole
WCSNAMEA= '0-based active pixel coordinates' / Coordinate system title
TIMESYS = 'UTC'                / Time scale
MJDREF  =                  0.0 / [d] MJD of fiducial time
DATE-OBS= '2025-12-18T05:09:34.650' / ISO-8601 time of observation
MJD-OBS =      61027.214984375 / [d] MJD of observation
DATE-BEG= '2025-12-18T05:09:34.650' / ISO-8601 time at start of observation
MJD-BEG =      61027.214984375 / [d] MJD at start of observation
DATE-AVG= '2025-12-18T05:10:32.209' / ISO-8601 time at midpoint of observation
MJD-AVG =      61027.215650564 / [d] MJD at midpoint of observation
DATE-END= '2025-12-18T05:11:29.768' / ISO-8601 time at end of observation
MJD-END =      61027.216316753 / [d] MJD at end of observation
XPOSURE =             113.5826 / [s] Exposure (integration) time
TELAPSE =             118.1873 / [s] Elapsed time (start to stop)
WCSAXESW=                    2 / Two output axes: wavelength and bandwidth
WCSNAMEW= 'Approximated per-pixel wavelength and bandwidth' / WCS label
CNAME1W = 'Wavelength'         / First output axis is central wavelength
CNAME2W = 'Bandwidth'          / Second output axis is bandwidth
CRPIX1W = {crpix1a:20} / Lookup table is in raw FITS coordinates
CRPIX2W = {crpix2a:20} / Lookup table is in raw FITS coordinates
CDELT1W =                    1 / [pixel] Lookup table is in raw FITS coordinates
CDELT2W =                    1 / [pixel] Lookup table is in raw FITS coordinates
CUNIT1W = 'um      '           / Wavelength is reported in microns
CUNIT2W = 'um      '           / Bandwidth is reported in microns
CTYPE1W = 'WAVE-TAB'           / Bilinear lookup table, FITS Paper 3, Sect 6.1
CTYPE2W = 'WAVE-TAB'           / Bilinear lookup table, FITS Paper 3, Sect 6.1
CRVAL1W =                    1 / [pixel] Lookup table is in raw FITS coordinates
CRVAL2W =                    1 / [pixel] Lookup table is in raw FITS coordinates
PV1_3W  =                    1 / Index of wavelength in VALUES array
PV2_3W  =                    2 / Index of bandwidth in VALUES array
PS1_0W  = 'WCS-WAVE'           / Extension with wavelength lookup table
PS2_0W  = 'WCS-WAVE'           / Extension with bandwidth lookup table
PS1_1W  = 'VALUES  '           / Column with values for wavelength
PS2_1W  = 'VALUES  '           / Column with values for bandwidth
PS1_2W  = 'X       '           / Column with control points for detector in X
PS2_2W  = 'Y       '           / Column with control points for detector in Y"""

_COUNTS = """\
HIERARCH L2 N_OUTLIER = 71926 / number of flagged outlier pixels
HIERARCH L2 N_DICHROIC = 109713 / number of flagged pixels due to low efficiency
BUNIT   = '' / Unit of flag pixel value (dimensionless)
EXTTYPE = 'MASK    '           / Extension can be used as a mask overlay"""

_MP = """\
HIERARCH MP_TRANSIENT = 0 / Transient detected during SUR
HIERARCH MP_OVERFLOW = 1 / Overflow detected during SUR
HIERARCH MP_SUR_ERROR = 2 / Error in onboard processing
HIERARCH MP_PHANTOM = 4 / Phantom pixel
HIERARCH MP_REFERENCE = 5 / Reference pixel
HIERARCH MP_NONFUNC = 6 / Permanently unusable
HIERARCH MP_DICHROIC = 7 / Low efficiency due to dichroic
HIERARCH MP_MISSING_DATA = 9 / Onboard data lost
MP_HOT  =                   10 / Hot pixel
MP_COLD =                   11 / Anomalously low signal
HIERARCH MP_FULLSAMPLE = 12 / Pixel full sample history is available
HIERARCH MP_PHANMISS = 14 / Phantom correction was not applied
HIERARCH MP_NONLINEAR = 15 / Nonlinearity correction cannot be applied reliably
HIERARCH MP_PERSIST = 17 / Persistent charge above threshold
HIERARCH MP_OUTLIER = 19 / Pixel flagged by Detect Outliers
HIERARCH MP_SOURCE = 21 / Pixel mapped to a known source
MP_GHOST=                   22 / Affected by a bright source inside the exposure
HIERARCH MP_GHOST_FPA = 23 / Affected by a bright source on another detector
HIERARCH MP_GHOST_EXT = 24 / Pixel affected by a bright source outside FOV
MP_BLOOM=                   26 / Pixel part of a bloom artifact
HIERARCH MP_SNOWBALL = 27 / Pixel part of a snowball artifact
MP_HALO =                   28 / Pixel part of a transient halo"""

QR2_BITS = {
    "TRANSIENT": 0, "OVERFLOW": 1, "SUR_ERROR": 2, "PHANTOM": 4, "REFERENCE": 5, "NONFUNC": 6, "DICHROIC": 7,
    "MISSING_DATA": 9, "HOT": 10, "COLD": 11, "FULLSAMPLE": 12, "PHANMISS": 14, "NONLINEAR": 15, "PERSIST": 17,
    "OUTLIER": 19, "SOURCE": 21, "GHOST": 22, "GHOST_FPA": 23, "GHOST_EXT": 24, "BLOOM": 26, "SNOWBALL": 27, "HALO": 28,
}  # fmt: skip
QR3_BITS = {name: bit for name, bit in QR2_BITS.items() if name not in ("PHANTOM", "REFERENCE")} | {
    "CROSSTALK": 20,
    "STREAK": 25,
    "SATELLITE_HALO": 29,
}
VERSIONS = {"qr1": "6.2.0.post8+g4d8e2ad", "qr2": "6.4+psffix1", "qr3": "7.0.5"}
WAVE_NODES = {"qr1": 7, "qr2": 11, "qr3": 9}
# The first zone of the archive's cards is one pixel wider than the others.
QR2_CENTRES = [93.22727 + 185.4545454 * zone for zone in range(11)]


@dataclasses.dataclass
class Level2:
    """A file and what is in it."""

    path: Path
    image: np.ndarray
    flags: np.ndarray | None
    variance: np.ndarray | None
    zodi: np.ndarray | None
    psf: np.ndarray
    bits: dict[str, int]
    origin: tuple[int, int]


def write_level2(
    path: Path,
    release: str = "qr2",
    *,
    shape: tuple[int, int] = (60, 50),
    origin: tuple[int, int] = (0, 0),
    version: str | None = None,
    swapped: bool | None = None,
    without: tuple[str, ...] = (),
) -> Level2:
    """Write a file.

    ``origin`` is the column and row of the frame where it begins; ``swapped``
    says whether the coordinates of the PSF zones are exchanged, as they are in
    the files of Quick Release 1.
    """
    rng = np.random.default_rng(20261124)
    version = VERSIONS[release] if version is None else version
    swapped = (release == "qr1") if swapped is None else swapped
    bits = QR3_BITS if release == "qr3" else QR2_BITS
    image, zodi = (rng.normal(0.3, 0.1, shape).astype(np.float32) for _ in range(2))
    variance = rng.uniform(1e-4, 1e-3, shape).astype(np.float32)
    flags = (rng.integers(0, 2, shape) << bits["SOURCE"]).astype(np.int32)
    for name in ("HOT", "OVERFLOW", "OUTLIER", "PERSIST", "FULLSAMPLE"):
        flags[rng.uniform(size=shape) > 0.9] |= 1 << bits[name]
    image[3, 4] = variance[3, 4] = np.nan
    flags[3, 4] = 1 << bits["NONFUNC"]
    wcs = _wcs(origin)
    psf, psf_hdu = _epsf() if release == "qr3" else _psf(swapped)
    parts = {
        "PRIMARY": _block(_PRIMARY.format(version=version)),
        "IMAGE": _image_hdu(image, _IMAGE.format(wcs=wcs)),
        "FLAGS": _compressed_flags(flags, bits, wcs)
        if release == "qr3"
        else _image_hdu(flags, f"{_COUNTS}\n{_MP}\nEXTNAME = 'FLAGS   '           / extension name\n{wcs}"),
        "VARIANCE": _image_hdu(
            variance, f"EXTNAME = 'VARIANCE'           / extension name\nBUNIT   = 'MJy2 / sr2'\n{wcs}"
        ),
        "ZODI": _image_hdu(zodi, f"EXTNAME = 'ZODI    '           / extension name\nBUNIT   = 'MJy / sr'\n{wcs}"),
        "PSF": psf_hdu,
        "WCS-WAVE": _bytes(wave_table(WAVE_NODES[release])),
    }
    path.write_bytes(b"".join(content for name, content in parts.items() if name not in without))
    return Level2(
        path,
        image,
        None if "FLAGS" in without else flags,
        None if "VARIANCE" in without else variance,
        None if "ZODI" in without else zodi,
        psf,
        bits,
        origin,
    )


def wave_table(nodes: int) -> fits.BinTableHDU:
    """Return a table WCS-WAVE of as many control points on each axis."""
    ticks = np.floor(np.linspace(1, FRAME, nodes) + 0.5).astype(np.int32)
    part = (ticks - 1) / (FRAME - 1)
    wavelength = 1.09 - 0.34 * part[:, np.newaxis] + 0.02 * (part - 0.5) ** 2
    values = np.stack([wavelength, wavelength / 39], axis=-1).astype(np.float32)
    return fits.BinTableHDU.from_columns(
        [
            fits.Column("X", f"{nodes}J", dim=f"({nodes})", array=ticks[np.newaxis]),
            fits.Column("Y", f"{nodes}J", dim=f"({nodes})", array=ticks[np.newaxis]),
            fits.Column("VALUES", f"{2 * nodes**2}E", dim=f"(2,{nodes},{nodes})", array=values[np.newaxis]),
        ],
        name="WCS-WAVE",
    )


def _psf(swapped: bool) -> tuple[np.ndarray, bytes]:
    """Return a cube whose planes differ, and its HDU; the columns of zones change fastest."""
    samples = _gaussians(np.linspace(8, 12, 121), 101).astype(np.float32)
    cards = [
        "EXTNAME = 'PSF     '           / extension name",
        "CTYPE1  = 'XANG    '",
        "CTYPE2  = 'YANG    '",
        "CDELT1  =                0.615",
        "CDELT2  =                0.615",
        "OVERSAMP=                   10",
    ]
    for zone in range(121):
        centre = QR2_CENTRES[zone % 11], QR2_CENTRES[zone // 11]
        for axis, value in zip("YX" if swapped else "XY", centre, strict=True):
            cards.append(f"{f'{axis}CTR_{zone + 1}':8}= {value:20.5f}")
    return samples, _image_hdu(samples, "\n".join(cards))


def _epsf() -> tuple[np.ndarray, bytes]:
    centres = (np.arange(21) + 0.5) * FRAME / 21 - 0.5
    y, x = (one.ravel() for one in np.meshgrid(centres, centres, indexing="ij"))
    samples = _gaussians(np.linspace(4, 6, 441), 33)
    columns = [
        fits.Column("BINX", "J", array=np.tile(np.arange(21), 21)),
        fits.Column("BINY", "J", array=np.repeat(np.arange(21), 21)),
        fits.Column("XCENTER", "E", "pixel", array=x),
        fits.Column("YCENTER", "E", "pixel", array=y),
        fits.Column("XWIDTH", "E", "pixel", array=np.full(441, FRAME / 21)),
        fits.Column("YWIDTH", "E", "pixel", array=np.full(441, FRAME / 21)),
        fits.Column("NSTAR", "J", array=np.full(441, 100)),
        fits.Column("NEFF_MEAN", "E", array=np.full(441, 9.0)),
        fits.Column("CWAVE", "E", "um", array=np.full(441, 0.9)),
        fits.Column("CBAND", "E", "um", array=np.full(441, 0.02)),
        fits.Column("EPSF", "1089D", dim="(33,33)", array=samples),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="EPSF")
    table.header.update({"OVSMPX": 5, "OVSMPY": 5, "DETCOORD": "sky", "ORDERING": "x-fast then y"})
    return samples, _bytes(table)


def _gaussians(widths: np.ndarray, size: int) -> np.ndarray:
    """Return normalised PSFs of these standard deviations."""
    place = np.arange(size) - size // 2
    profiles = np.exp(-(place**2) / (2 * widths[:, np.newaxis] ** 2))
    planes = profiles[:, :, np.newaxis] * profiles[:, np.newaxis, :]
    return planes / planes.sum(axis=(1, 2), keepdims=True)


def _wcs(origin: tuple[int, int]) -> str:
    x, y = origin
    return _WCS.format(crpix1=1020.5 - x, crpix2=1020.5 - y, crpix1a=1.0 - x, crpix2a=1.0 - y)


def _compressed_flags(flags: np.ndarray, bits: dict[str, int], wcs: str) -> bytes:
    names = "\n".join(f"MSKN{bit:04d}= '{name}'" for name, bit in sorted(bits.items(), key=lambda item: item[1]))
    header = fits.Header.fromstring(_cards(f"{_COUNTS}\n{names}\n{wcs}"))
    return _bytes(
        fits.CompImageHDU(flags, header=header, name="FLAGS", compression_type="RICE_1", tile_shape=(1, flags.shape[1]))
    )


def _image_hdu(pixels: np.ndarray, cards: str) -> bytes:
    bitpix = {"float32": -32, "int32": 32}[pixels.dtype.name]
    axes = "\n".join(f"NAXIS{axis}  = {size:20}" for axis, size in enumerate(reversed(pixels.shape), start=1))
    storage = _STORAGE.format(bitpix=bitpix, naxis=pixels.ndim, axes=axes)
    content = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    return _block(f"{storage}\n{cards}") + content + b"\0" * (-len(content) % 2880)


def _block(cards: str) -> bytes:
    header = _cards(f"{cards}\nEND")
    return header + b" " * (-len(header) % 2880)


def _cards(text: str) -> bytes:
    lines = text.split("\n")
    assert all(len(line) <= 80 for line in lines)
    return b"".join(line.ljust(80).encode("ascii") for line in lines)


def _bytes(hdu: fits.BinTableHDU | fits.CompImageHDU) -> bytes:
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    return buffer.getvalue()[2880:]
