"""Pictures of spectra."""

from __future__ import annotations

__all__ = ["DrawSpectrumConfig", "DrawSpectrumConnections", "DrawSpectrumTask"]

from typing import TYPE_CHECKING

import lsst.pex.config as pexConfig
import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812

if TYPE_CHECKING:
    from astropy.table import QTable

_DIMENSIONS = ("catalog", "target")


class DrawSpectrumConnections(pipeBase.PipelineTaskConnections, dimensions=_DIMENSIONS):
    """What `DrawSpectrumTask` reads and writes."""

    spectrum = cT.Input(
        doc="All measurements of one target.", name="spectrum", storageClass="AstropyQTable", dimensions=_DIMENSIONS
    )
    channelSpectrum = cT.Input(
        doc="Their means.", name="channel_spectrum", storageClass="AstropyQTable", dimensions=_DIMENSIONS
    )
    plot = cT.Output(doc="The picture.", name="spectrum_plot", storageClass="Plot", dimensions=_DIMENSIONS)


class DrawSpectrumConfig(pipeBase.PipelineTaskConfig, pipelineConnections=DrawSpectrumConnections):
    """Configuration of `DrawSpectrumTask`."""

    markedFlags = pexConfig.ListField[str](
        default=["SUR_ERROR", "NONFUNC", "MISSING_DATA", "HOT", "COLD", "NONLINEAR", "PERSIST"],
        doc="Measurements with one of these flags are marked.",
    )
    markedMasked = pexConfig.RangeField(
        dtype=float,
        default=0.5,
        min=0.0,
        max=1.0,
        doc="Measurements with a greater fraction of the PSF on masked pixels are marked.",
    )
    worstFit = pexConfig.RangeField(
        dtype=float,
        default=10.0,
        min=1.0,
        doc="Measurements whose chi2 is greater than this, in units of the median for target and detector, are marked.",
    )


class DrawSpectrumTask(pipeBase.PipelineTask):
    """Draw the spectrum of a target and its channels."""

    ConfigClass = DrawSpectrumConfig
    _DefaultName = "drawSpectrum"
    config: DrawSpectrumConfig

    def run(self, spectrum: QTable, channelSpectrum: QTable | None = None) -> pipeBase.Struct:  # noqa: N803
        """Draw.

        Parameters
        ----------
        spectrum, channelSpectrum
            What `spherex.spectra.gather_spectrum` and `spherex.spectra.combine_channels` return.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``plot``, a `matplotlib.figure.Figure`.
        """
        from ..spectra import draw_spectrum

        return pipeBase.Struct(
            plot=draw_spectrum(
                spectrum,
                channelSpectrum,
                flags=self.config.markedFlags,
                most_masked=self.config.markedMasked,
                worst_fit=self.config.worstFit,
            )
        )
