"""Cards of Level 2 headers, in the order, spelling and wording of the archive's files.

Transcribed from QR1 and QR2 headers of the public archive. A value that is
`None` is worked out for each image; a `Block` stands for a group of cards that
several headers have.
"""

from __future__ import annotations

__all__ = [
    "CELESTIAL_COMMENTS",
    "COMMENTS",
    "COUNTS",
    "FLAGS_CARDS",
    "IMAGE_CARDS",
    "PIXEL_CARDS",
    "TIME_CARDS",
    "WAVELENGTH_CARDS",
    "Block",
    "CardRow",
]

import enum

from spherex.fits import WCS_WAVE


class Block(enum.Enum):
    """Groups of cards that several headers have."""

    CELESTIAL = enum.auto()
    DISTORTION = enum.auto()
    PIXELS = enum.auto()
    TIMES = enum.auto()
    WAVELENGTH = enum.auto()
    FLAG_NAMES = enum.auto()


CardRow = tuple[str, str | int | float | bool | None, str] | Block

IMAGE_CARDS: tuple[CardRow, ...] = (
    ("EXTNAME", "IMAGE", "extension name"),
    ("EXTTYPE", "IMAGE", "Extension supports mask overlay"),
    ("BUNIT", "MJy / sr", "Unit of pixel value"),
    ("DETECTOR", None, "1-3: SWIR, 4-6: MWIR"),
    ("OBSID", None, "Observation ID"),
    ("EXPIDN", None, "Integer Exposure ID"),
    ("DATE", None, "HDU creation time (UTC)"),
    ("TSAMP", 1.5349, "[s] Interval between pixel readouts (frame)"),
    ("KOVR_A", 25000, "[adu] Overflow detection limit, active pixels"),
    ("KOVR_R", 25000, "[adu] Overflow detection limit, ref pixels"),
    ("KOVR_P", 25000, "[adu] Overflow detection limit, phantom pixels"),
    ("OVRDLY", 5, "threshold for overflow error flag"),
    ("SURLIM", 77, "Number of frames detector accumulated charge"),
    ("SURDLY", 3, "Frame count when SUR sums accumulation begins"),
    ("TRANDLY", 7, "Frame count when transient detection begins"),
    ("TCUT", 38, "threshold for transient error flag"),
    ("KEN_A", 20000, "Transient white noise threshold, active pixels"),
    ("KEN_R", 10000, "Transient white noise threshold, ref pixels"),
    ("KEN_P", 500, "Transient white noise threshold, phantom pixels"),
    ("KSN_A", 100, "Transient shot noise threshold, active pixels"),
    ("KSN_R", 0, "Transient shot noise threshold, ref pixels"),
    ("KSN_P", 0, "Transient shot noise threshold, phantom pixels"),
    ("NSKIP", 32, "Number of rows skipped after a full row is read"),
    ("HIERARCH NVISITROW", 4, "Number of visits to each reference row"),
    ("HIERARCH NVISITCOL", 1, "Number of visits to each reference col"),
    ("MPHAN", 4, "Number of phantom columns reads"),
    ("NCHANNEL", 32, "Number of readout channels"),
    ("WCHANNEL", 64, "Number of columns in each readout channel"),
    ("JREF", 8, "Number of physical reference rows on H2RG"),
    ("KREF", 8, "Number of physical reference cols on H2RG"),
    ("JACTIVE", 2040, "Number of light-sensitive pixel rows"),
    ("KACTIVE", 2040, "Number of light-sensitive pixel cols"),
    ("HIERARCH SPS_TARGET", None, "Target ID assigned by Survey Planning"),
    ("HIERARCH SPS_FLAGS", None, "Flags defined by Survey Planning"),
    ("HIERARCH OBS_IN_SBAND", "False", "Observed during S-band transmission"),
    ("HIERARCH NON_SURVEY", "False", "Observation is not part of a science survey"),
    ("HIERARCH SGT_LAT_MIDPT", None, "[deg] Ground track latitude at midpoint"),
    ("HIERARCH SGT_LON_MIDPT", None, "[deg] Ground track longitude at midpoint"),
    ("HIERARCH SGT_MIN_GCD2SAA", None, "[deg] Closest ground track dist to SAA"),
    ("SPS_ELON", None, "[deg] Ecliptic longitude of planned telescope boresight"),
    ("SPS_ELAT", None, "[deg] Ecliptic latitude of planned telescope boresight"),
    ("SPS_EPA", None, "[deg] PA of FP y axis at planned boresight, E of ecl N"),
    ("L1DQAFLG", "Pass", "L1 DQA outcome"),
    ("RADESYS", "ICRS", "Equatorial coordinate system"),
    ("HIERARCH X_SC_START", None, "[km] Exposure START x position"),
    ("HIERARCH Y_SC_START", None, "[km] Exposure START y position"),
    ("HIERARCH Z_SC_START", None, "[km] Exposure START z position"),
    ("HIERARCH VX_SC_START", None, "[km/s] Exposure START v_x velocity"),
    ("HIERARCH VY_SC_START", None, "[km/s] Exposure START v_y velocity"),
    ("HIERARCH VZ_SC_START", None, "[km/s] Exposure START v_z velocity"),
    ("HIERARCH XYZ_SC_SYSTEM", "GEOCENTER", "Reference frame for spacecraft position"),
    ("HIERARCH VXYZ_SC_SYSTEM", "GEOCENTER", "Reference frame for spacecraft velocity"),
    ("X_SC", None, "[km] Exposure MID x position"),
    ("Y_SC", None, "[km] Exposure MID y position"),
    ("Z_SC", None, "[km] Exposure MID z position"),
    ("VX_SC", None, "[km/s] Exposure MID v_x velocity"),
    ("VY_SC", None, "[km/s] Exposure MID v_y velocity"),
    ("VZ_SC", None, "[km/s] Exposure MID v_z velocity"),
    ("X_SC_END", None, "[km] Exposure END x position"),
    ("Y_SC_END", None, "[km] Exposure END y position"),
    ("Z_SC_END", None, "[km] Exposure END z position"),
    ("HIERARCH VX_SC_END", None, "[km/s] Exposure END v_x velocity"),
    ("HIERARCH VY_SC_END", None, "[km/s] Exposure END v_y velocity"),
    ("HIERARCH VZ_SC_END", None, "[km/s] Exposure END v_z velocity"),
    ("NBLMPIX", None, "Number of Pixels Bloom Flag"),
    ("NHALOPIX", None, "Number of Pixels Halo Flag"),
    ("NSNOWPIX", None, "Number of Pixels Snowball Flag"),
    ("HIERARCH L2 N_NONLINEAR", None, "number of pixels flagged nonlinear"),
    ("PSTHRESH", 0.1, "[electron/s] persistence threshold"),
    ("HIERARCH L2 N_PERSIST", None, "number of pixels flagged persist"),
    ("DETCOORD", "sky", "MWIR pixels flipped on X to match SWIR view"),
    ("HIERARCH L2 N_HOT", None, "number of pixels flagged hot"),
    ("HIERARCH L2 N_COLD", None, "number of pixels flagged cold"),
    ("HIERARCH L2 N_TRAN_NB", None, "number of not bad transient pixels"),
    ("HIERARCH L2 N_PERS_NB", None, "number of persistence and not bad pixels"),
    ("HIERARCH OMEGA_MEDIAN", None, " [arcsec**2] solid angle pixel map median"),
    ("HIERARCH OMEGA_STDDEV", None, " [arcsec**2] solid angle pixel map standard deviation"),
    ("FINAST", 0, "good fine-astrometric solution"),
    ("DAXIS", 1.3391179933075352, ""),
    ("HIERARCH CONTRAST", 76.6, ""),
    ("HIERARCH MATCH_NSTARS", None, ""),
    ("HIERARCH QS_NMATCH_VAR", 0.011758466292862218, ""),
    ("HIERARCH ASTRONETSOLVED", True, ""),
    Block.CELESTIAL,
    ("PXSRCMSK", None, "Percentage of pixels with SOURCE flag"),
    ("HIERARCH L2 N_SOURCE", None, "number of source flagged pixels"),
    ("HIERARCH L2 N_GHOST", None, "number of ghost flagged pixels"),
    ("HIERARCH L2 N_GHOST_FPA", None, "number of ghost_fpa flagged pixels"),
    ("HIERARCH L2 N_GHOST_EXT", None, "number of ghost_ext flagged pixels"),
    ("HIERARCH L2 N_BLOOM_NS", None, "number of BLOOM flagged pixels not flagged SOURCE"),
    ("HIERARCH L2 N_SNOW_NS", None, "number of SNOW flagged pixels not flagged SOURCE"),
    ("HIERARCH L2 N_OUTLIER", None, "number of flagged outlier pixels"),
    ("PSF_FWHM", None, " [arcsec] PSF FWHM Median"),
    ("L2DQAFLG", "Pass", "L2 DQA outcome"),
    ("HIERARCH REFCAT.VERSION", "SPHEREx_RefCat_v0.73", "Reference catalog version"),
    ("HIERARCH L2 N_TRANSIENT", None, "number of flagged transient pixels"),
    ("HIERARCH L2 N_OVERFLOW", None, "number of flagged overflow pixels"),
    ("HIERARCH L2 N_SUR_ERROR", None, "number of flagged sur error pixels"),
    ("HIERARCH L2 N_NONFUNC", None, "number of flagged nonfunctional pixels"),
    ("HIERARCH L2 N_DICHROIC", None, "number of flagged pixels due to low efficiency of dichroic"),
    ("HIERARCH L2 N_MISSING", None, "number of flagged pixels with missing data"),
    ("HIERARCH L2 N_FULLSAMPLE", None, "number of flagged full-sample pixels"),
    ("HIERARCH L2 N_PHANMISS", None, "number of flagged phanmiss pixels"),
    Block.DISTORTION,
    Block.PIXELS,
    Block.TIMES,
    Block.WAVELENGTH,
)

FLAGS_CARDS: tuple[CardRow, ...] = (
    ("HIERARCH L2 N_OUTLIER", None, "number of flagged outlier pixels"),
    ("HIERARCH L2 N_TRANSIENT", None, "number of flagged transient pixels"),
    ("HIERARCH L2 N_OVERFLOW", None, "number of flagged overflow pixels"),
    ("HIERARCH L2 N_SUR_ERROR", None, "number of flagged sur error pixels"),
    ("HIERARCH L2 N_PHANTOM", None, "number of flagged phantom pixels"),
    ("HIERARCH L2 N_REFERENCE", None, "number of flagged reference pixels"),
    ("HIERARCH L2 N_NONFUNC", None, "number of flagged nonfunctional pixels"),
    ("HIERARCH L2 N_DICHROIC", None, "number of flagged pixels due to low efficiency of dichroic"),
    ("HIERARCH L2 N_MISSING", None, "number of flagged pixels with missing data"),
    ("HIERARCH L2 N_FULLSAMPLE", None, "number of flagged full-sample pixels"),
    ("HIERARCH L2 N_PHANMISS", None, "number of flagged phanmiss pixels"),
    ("BUNIT", "", "Unit of flag pixel value (dimensionless)"),
    ("EXTTYPE", "MASK", "Extension can be used as a mask overlay"),
    Block.FLAG_NAMES,
    ("EXTNAME", "FLAGS", "extension name"),
    ("RADESYS", "ICRS", "Equatorial coordinate system"),
    Block.CELESTIAL,
    Block.DISTORTION,
    Block.PIXELS,
    Block.TIMES,
    Block.WAVELENGTH,
)

COUNTS = {
    "NBLMPIX": "BLOOM",
    "NHALOPIX": "HALO",
    "NSNOWPIX": "SNOWBALL",
    "HIERARCH L2 N_MISSING": "MISSING_DATA",
}
"""Flags that are counted in cards not called ``L2 N_`` and their name."""

CELESTIAL_COMMENTS = {
    "WCSAXES": "Number of coordinate axes",
    "CRPIX1": "Pixel coordinate of reference point",
    "CRPIX2": "Pixel coordinate of reference point",
    "PC1_1": "Coordinate transformation matrix element",
    "PC1_2": "Coordinate transformation matrix element",
    "PC2_1": "Coordinate transformation matrix element",
    "PC2_2": "Coordinate transformation matrix element",
    "CDELT1": "[deg] Coordinate increment at reference point",
    "CDELT2": "[deg] Coordinate increment at reference point",
    "CUNIT1": "Units of coordinate increment and value",
    "CUNIT2": "Units of coordinate increment and value",
    "CTYPE1": "TAN (gnomonic) projection + SIP distortions",
    "CTYPE2": "TAN (gnomonic) projection + SIP distortions",
    "CRVAL1": "[deg] Coordinate value at reference point",
    "CRVAL2": "[deg] Coordinate value at reference point",
    "LONPOLE": "[deg] Native longitude of celestial pole",
    "LATPOLE": "[deg] Native latitude of celestial pole",
}
"""Cards of the celestial coordinates without the distortion, in their order."""

PIXEL_CARDS: tuple[CardRow, ...] = (
    ("WCSAXESA", 2, "Number of coordinate axes"),
    ("CRPIX1A", None, "Pixel coordinate of reference point"),
    ("CRPIX2A", None, "Pixel coordinate of reference point"),
    ("CDELT1A", 1.0, "[pixel] Coordinate increment at reference point"),
    ("CDELT2A", 1.0, "[pixel] Coordinate increment at reference point"),
    ("CUNIT1A", "pixel", "Units of coordinate increment and value"),
    ("CUNIT2A", "pixel", "Units of coordinate increment and value"),
    ("CTYPE1A", "LINEAR", "Coordinate type code"),
    ("CTYPE2A", "LINEAR", "Coordinate type code"),
    ("CRVAL1A", 0.0, "[pixel] Coordinate value at reference point"),
    ("CRVAL2A", 0.0, "[pixel] Coordinate value at reference point"),
    ("LATPOLEA", 90.0, "[deg] Native latitude of celestial pole"),
    ("WCSNAMEA", "0-based active pixel coordinates", "Coordinate system title"),
)

TIME_CARDS: tuple[CardRow, ...] = (
    ("TIMESYS", "UTC", "Time scale"),
    ("MJDREF", 0.0, "[d] MJD of fiducial time"),
    ("DATE-OBS", None, "ISO-8601 time of observation"),
    ("MJD-OBS", None, "[d] MJD of observation"),
    ("DATE-BEG", None, "ISO-8601 time at start of observation"),
    ("MJD-BEG", None, "[d] MJD at start of observation"),
    ("DATE-AVG", None, "ISO-8601 time at midpoint of observation"),
    ("MJD-AVG", None, "[d] MJD at midpoint of observation"),
    ("DATE-END", None, "ISO-8601 time at end of observation"),
    ("MJD-END", None, "[d] MJD at end of observation"),
    ("XPOSURE", None, "[s] Exposure (integration) time"),
    ("TELAPSE", 118.1873, "[s] Elapsed time (start to stop)"),
)

WAVELENGTH_CARDS: tuple[CardRow, ...] = (
    ("WCSAXESW", 2, "Two output axes: wavelength and bandwidth"),
    ("WCSNAMEW", "Approximated per-pixel wavelength and bandwidth", "WCS label"),
    ("CNAME1W", "Wavelength", "First output axis is central wavelength"),
    ("CNAME2W", "Bandwidth", "Second output axis is bandwidth"),
    ("CRPIX1W", None, "Lookup table is in raw FITS coordinates"),
    ("CRPIX2W", None, "Lookup table is in raw FITS coordinates"),
    ("CDELT1W", 1, "[pixel] Lookup table is in raw FITS coordinates"),
    ("CDELT2W", 1, "[pixel] Lookup table is in raw FITS coordinates"),
    ("CUNIT1W", "um", "Wavelength is reported in microns"),
    ("CUNIT2W", "um", "Bandwidth is reported in microns"),
    ("CTYPE1W", "WAVE-TAB", "Bilinear lookup table, FITS Paper 3, Sect 6.1"),
    ("CTYPE2W", "WAVE-TAB", "Bilinear lookup table, FITS Paper 3, Sect 6.1"),
    ("CRVAL1W", 1, "[pixel] Lookup table is in raw FITS coordinates"),
    ("CRVAL2W", 1, "[pixel] Lookup table is in raw FITS coordinates"),
    ("PV1_3W", 1, "Index of wavelength in VALUES array"),
    ("PV2_3W", 2, "Index of bandwidth in VALUES array"),
    ("PS1_0W", WCS_WAVE, "Extension with wavelength lookup table"),
    ("PS2_0W", WCS_WAVE, "Extension with bandwidth lookup table"),
    ("PS1_1W", "VALUES", "Column with values for wavelength"),
    ("PS2_1W", "VALUES", "Column with values for bandwidth"),
    ("PS1_2W", "X", "Column with control points for detector in X"),
    ("PS2_2W", "Y", "Column with control points for detector in Y"),
)

COMMENTS = (
    "TELAPSE ends at MJD-END, starts prior to MJD-BEG:",
    "  includes discarded frames",
    "XPOSURE is the scientifically meaningful exposure time:",
    "  the time between the start and end of collecting data that",
    "  contributes to the photocurrent",
)
