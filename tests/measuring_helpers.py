"""Simulated images in memory, with sources at known places of the frame."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from astropy.table import Table

from spherex.archive import ProcessingRun
from spherex.image import Box, SPHERExImage, Wavelength
from spherex.photometry import Profiles
from spherex_simulator import Settings
from spherex_simulator.level2 import RELEASES, Level2Settings, read_sources, simulate_level2


@dataclasses.dataclass
class ImageInMemory:
    """An image for `spherex.spectra.measuring.measure_targets`; counts what is read."""

    image: SPHERExImage

    def __post_init__(self) -> None:
        self.boxes: list[Box] = []

    def header(self) -> Any:
        header = self.image.header.copy()
        header["NAXIS1"], header["NAXIS2"] = self.image.shape[::-1]
        return header

    def read(self, box: Box) -> SPHERExImage:
        self.boxes.append(box)
        return self.image[box.slices]

    def profiles(self) -> tuple[Profiles, str]:
        return Profiles(self.image.psf_model), "image"

    def wavelength(self) -> Wavelength:
        return self.image.wavelength


def settings_of(release: str, seed: int = 3, **options: Any) -> Level2Settings:
    """Return a simulation without stars of its own."""
    form = RELEASES[release]
    run = ProcessingRun.parse(form.run)
    return Level2Settings(Settings(seed=seed, start=form.start), form, run, with_stars=False, **options)


def simulate_sources(
    folder: Any, release: str, detector: int, x: Any, y: Any, flux: Any, seed: int = 3
) -> tuple[ImageInMemory, Table, Table]:
    """Simulate a whole frame with sources at pixels, their flux in uJy the same at all wavelengths.

    Returns
    -------
    image, catalogue, truth
        The image; its sources as a catalogue; and what the simulation says of them.
    """
    empty = simulate_level2(settings_of(release, seed, side=32), 0, detector).image
    ra, dec = empty.wcs.all_pix2world(np.asarray(x) - empty.bbox.x0, np.asarray(y) - empty.bbox.y0, 0)
    names = [f"s{number:05d}" for number in range(len(ra))]
    catalogue = Table({"name": names, "ra": ra, "dec": dec, "flux": flux, "slope": np.zeros(len(ra))})
    path = folder / f"{release}_{detector}_{seed}.ecsv"
    catalogue.write(path, format="ascii.ecsv")
    frame = simulate_level2(settings_of(release, seed, sources=read_sources(path)), 0, detector)
    return ImageInMemory(frame.image), catalogue, frame.sources
