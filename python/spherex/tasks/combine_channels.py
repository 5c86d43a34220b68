"""Mean spectra of targets in the channels of the mission."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
from cachetools import cached

from spherex.calibrations import NewestCalibrationLookup
from spherex.detectors import CHANNEL_SPECTRA_TYPE, SPECTRA_TYPE, SPECTRAL_CHANNELS_TYPE

from .caching import DatasetCache, dataset_key

if TYPE_CHECKING:
    import pyarrow as pa

    from spherex.spectra import Channels


class ChannelsConnections(pipeBase.PipelineTaskConnections, dimensions=("catalog",)):
    """Channels of pixels, an input of tasks whose quanta belong to many exposures."""

    channels = cT.PrerequisiteInput(
        doc="Channel of each pixel; without it, the wavelength of a measurement determines its channel.",
        name=SPECTRAL_CHANNELS_TYPE,
        storageClass="AstropyHDUList",
        dimensions=("instrument",),
        isCalibration=True,
        multiple=True,
        minimum=0,
        deferLoad=True,
    )

    def __init__(self, *, config: pipeBase.PipelineTaskConfig | None = None) -> None:
        super().__init__(config=config)
        self._lookup = NewestCalibrationLookup()
        self.channels = dataclasses.replace(self.channels, lookupFunction=self._lookup)

    def adjust_all_quanta(self, adjuster: pipeBase.QuantaAdjuster) -> None:
        """Forget the calibrations; see `lsst.pipe.base.PipelineTaskConnections.adjust_all_quanta`."""
        self._lookup.finish()


class CombineChannelsConnections(ChannelsConnections, dimensions=("catalog", "patch")):
    """Inputs and outputs of `CombineChannelsTask`."""

    spectra = cT.Input(
        doc="All measurements of the targets of a patch.",
        name=SPECTRA_TYPE,
        storageClass="SpectraTable",
        dimensions=("catalog", "patch"),
    )
    channelSpectra = cT.Output(
        doc="Means of the measurements of each channel, by target and wavelength.",
        name=CHANNEL_SPECTRA_TYPE,
        storageClass="SpectraTable",
        dimensions=("catalog", "patch"),
    )


class CombineChannelsConfig(pipeBase.PipelineTaskConfig, pipelineConnections=CombineChannelsConnections):
    """Configuration of `CombineChannelsTask`."""

    __module__ = "spherex.tasks"  # Repositories record the class by this name.


class CombineChannelsTask(pipeBase.PipelineTask):
    """Average the measurements of each target of a patch in each of the 102 channels."""

    ConfigClass = CombineChannelsConfig
    _DefaultName = "combineChannels"
    config: CombineChannelsConfig

    def runQuantum(
        self,
        butlerQC: pipeBase.QuantumContext,
        inputRefs: pipeBase.InputQuantizedConnection,
        outputRefs: pipeBase.OutputQuantizedConnection,
    ) -> None:
        """Run on datasets; see `lsst.pipe.base.PipelineTask.runQuantum`."""
        from spherex.spectra import patch_meta

        spectra = butlerQC.get(inputRefs.spectra)
        channels = None
        for ref in inputRefs.channels:
            if ref.dataId["instrument"] in patch_meta(spectra)["instruments"]:
                channels = cached_channels(butlerQC.get(ref))
        butlerQC.put(self.run(spectra, channels), outputRefs)

    def run(self, spectra: pa.Table, channels: Channels | None = None) -> pipeBase.Struct:
        """Average the measurements of each channel of each target.

        Parameters
        ----------
        spectra
            Measurements, as `spherex.spectra.gather_patch` returns them.
        channels
            The channels; by default `spherex.spectra.design_channels`.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``channelSpectra``, a `pyarrow.Table`, see `spherex.spectra.combine_patch`.
        """
        from spherex.spectra import combine_patch, design_channels

        return pipeBase.Struct(channelSpectra=combine_patch(spectra, channels or design_channels()))


def source_of_channels(handle: Any) -> str:
    """Return the origin of channels in the metadata ``channels`` of a channel spectrum.

    Parameters
    ----------
    handle
        Handle of a dataset `SPECTRAL_CHANNELS_TYPE`.
    """
    return f"{handle.ref.datasetType.name} {handle.ref.id}"


@cached(DatasetCache(1), key=dataset_key)
def cached_channels(handle: Any) -> Channels:
    """Read the channels once for all quanta of a process.

    Parameters
    ----------
    handle
        Handle of a dataset `SPECTRAL_CHANNELS_TYPE`.
    """
    from spherex.spectra import read_channels

    return read_channels(handle.get(), source_of_channels(handle))
