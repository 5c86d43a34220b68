"""Plots of images and spectra."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import lsst.pex.config as pexConfig
import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812

from spherex.detectors import CHANNEL_SPECTRA_TYPE, SPECTRA_TYPE, SPECTRUM_PLOT_TYPE, SUBTRACTED_TYPE

from .combine_channels import ChannelsConnections, cached_channels, source_of_channels

if TYPE_CHECKING:
    from astropy.table import QTable

    from spherex.image import SPHERExImage
    from spherex.spectra import Channels


_PATCH_DIMENSIONS = ("catalog", "patch")
_TARGET_DIMENSIONS = ("catalog", "target")
_IMAGE_DIMENSIONS = ("instrument", "exposure", "detector")


class DrawSpectrumConnections(ChannelsConnections, dimensions=_TARGET_DIMENSIONS):
    """Inputs and outputs of `DrawSpectrumTask`."""

    spectra = cT.Input(
        doc="All measurements of the targets of a patch.",
        name=SPECTRA_TYPE,
        storageClass="SpectraTable",
        dimensions=_PATCH_DIMENSIONS,
        deferLoad=True,
    )
    channelSpectra = cT.Input(
        doc="Means of the measurements in each channel.",
        name=CHANNEL_SPECTRA_TYPE,
        storageClass="SpectraTable",
        dimensions=_PATCH_DIMENSIONS,
        deferLoad=True,
    )
    plot = cT.Output(doc="The plot.", name=SPECTRUM_PLOT_TYPE, storageClass="Plot", dimensions=_TARGET_DIMENSIONS)


class DrawSpectrumConfig(pipeBase.PipelineTaskConfig, pipelineConnections=DrawSpectrumConnections):
    """Configuration of `DrawSpectrumTask`."""

    __module__ = "spherex.tasks"  # Repositories record the class by this name.

    fluxAxis = pexConfig.ChoiceField[str](
        doc="Vertical axis of the plot.",
        allowed={
            "flux": "Flux density, linear.",
            "log_flux": "Decimal logarithm of the flux density.",
            "ab_magnitude": "AB magnitude.",
            "lambda_f_lambda": "Flux density times frequency, linear.",
        },
        default="flux",
        optional=False,
    )
    upperLimits = pexConfig.RangeField(
        dtype=float,
        default=None,
        optional=True,
        min=0.0,
        inclusiveMin=False,
        max=math.inf,
        inclusiveMax=False,
        doc="Good fluxes between minus and plus so many errors are drawn as upper limits; by default none is.",
    )


class DrawSpectrumTask(pipeBase.PipelineTask):
    """Plot the spectrum of a target and its channels."""

    ConfigClass = DrawSpectrumConfig
    _DefaultName = "drawSpectrum"
    config: DrawSpectrumConfig

    def runQuantum(
        self,
        butlerQC: pipeBase.QuantumContext,
        inputRefs: pipeBase.InputQuantizedConnection,
        outputRefs: pipeBase.OutputQuantizedConnection,
    ) -> None:
        """Run on datasets; see `lsst.pipe.base.PipelineTask.runQuantum`.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            If the target has no measurement.
        """
        from spherex.spectra import spectrum_in

        target = outputRefs.plot.dataId["target"]
        spectra, means = (
            butlerQC.get(ref).get(parameters={"target": target})
            for ref in (inputRefs.spectra, inputRefs.channelSpectra)
        )
        if not len(spectra):
            raise pipeBase.NoWorkFound(f"{target} has no measurement")
        channel_spectrum = spectrum_in(means, target)
        channels = None
        for ref in inputRefs.channels:
            handle = butlerQC.get(ref)
            # Newer channels than those of the means do not say which measurements were averaged.
            if source_of_channels(handle) == channel_spectrum.meta["channels"]:
                channels = cached_channels(handle)
        butlerQC.put(self.run(spectrum_in(spectra, target), channel_spectrum, channels), outputRefs)

    def run(
        self,
        spectrum: QTable,
        channelSpectrum: QTable | None = None,  # noqa: N803
        channels: Channels | None = None,
    ) -> pipeBase.Struct:
        """Plot a spectrum.

        Parameters
        ----------
        spectrum, channelSpectrum
            Tables from `spherex.spectra.gather_spectrum` and `spherex.spectra.combine_channels`.
        channels
            Channels of ``channelSpectrum``, if they are of pixels.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``plot``, a `matplotlib.figure.Figure`.
        """
        from spherex.spectra import plot_spectrum

        plot = plot_spectrum(
            spectrum,
            channelSpectrum,
            flux_axis=self.config.fluxAxis,
            upper_limits=self.config.upperLimits,
            channels=channels,
        )
        return pipeBase.Struct(plot=plot)


class QuickLookConnections(pipeBase.PipelineTaskConnections, dimensions=_IMAGE_DIMENSIONS):
    """Inputs and outputs of `QuickLookTask`."""

    image = cT.Input(
        doc="Image to show.", name=SUBTRACTED_TYPE, storageClass="SPHERExImage", dimensions=_IMAGE_DIMENSIONS
    )
    plot = cT.Output(doc="The plot.", name=f"{SUBTRACTED_TYPE}_plot", storageClass="Plot", dimensions=_IMAGE_DIMENSIONS)


class QuickLookConfig(pipeBase.PipelineTaskConfig, pipelineConnections=QuickLookConnections):
    """Configuration of `QuickLookTask`."""

    __module__ = "spherex.tasks"  # Repositories record the class by this name.

    contrast = pexConfig.RangeField(
        dtype=float, default=0.25, min=0.0, inclusiveMin=False, doc="Contrast of the zscale stretch."
    )
    colormap = pexConfig.Field[str](default="inferno", doc="Name of the matplotlib colour map.")
    hiddenFlags = pexConfig.ListField[str](
        default=["NONFUNC"], doc="Pixels with one of these flags are left out of the plot."
    )


class QuickLookTask(pipeBase.PipelineTask):
    """Plot an image with its colour scale."""

    ConfigClass = QuickLookConfig
    _DefaultName = "quickLook"
    config: QuickLookConfig

    def runQuantum(
        self,
        butlerQC: pipeBase.QuantumContext,
        inputRefs: pipeBase.InputQuantizedConnection,
        outputRefs: pipeBase.OutputQuantizedConnection,
    ) -> None:
        """Run on datasets; see `lsst.pipe.base.PipelineTask.runQuantum`."""
        ref = inputRefs.image
        detector = ref.dataId.records["detector"]
        title = f"{ref.datasetType.name}  exposure {ref.dataId['exposure']}  detector {ref.dataId['detector']}"
        if detector.lmin is not None:
            title += f"  {detector.lmin:.2f} to {detector.lmax:.2f} µm"
        butlerQC.put(self.run(butlerQC.get(ref), title), outputRefs)

    def run(self, image: SPHERExImage, title: str = "") -> pipeBase.Struct:
        """Plot an image, with a compass and a scale bar if it has a celestial WCS.

        Parameters
        ----------
        image
            Image to show.
        title
            Text above the plot.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``plot``, a `matplotlib.figure.Figure`.
        """
        from matplotlib.figure import Figure

        from spherex.image import draw_image

        figure = Figure(figsize=(7, 6), layout="constrained")
        axes = figure.add_subplot()
        drawn, extend, number = draw_image(
            axes, image, self.config.hiddenFlags, self.config.contrast, self.config.colormap
        )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("column (pixel)" + (f"     grey: {number} hidden or without value" if number else ""))
        axes.set_ylabel("row (pixel)")
        figure.colorbar(drawn, ax=axes, label=image.unit.to_string("unicode"), extend=extend)
        return pipeBase.Struct(plot=figure)
