"""How much the benchmarks measure."""

from __future__ import annotations

__all__ = ["FULL", "TINY", "Scale"]

import dataclasses


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes and numbers of repetitions.

    Parameters
    ----------
    files
        Files of an ingest, a multiple of ``few_files``.
    few_files, many_files
        Files of the ingests that show how cost grows: whole exposures, and a
        multiple of that.
    remote_files
        Files of an ingest from a server.
    lines
        Lines of lists of URIs.
    side
        Rows and columns of a full image (pixels).
    psf_shape
        Shape of the PSF plane.
    cutout
        Rows and columns of a cutout (pixels).
    quanta
        Numbers of quanta whose difference gives the cost of one.
    busy
        Seconds of a quantum, each with the number of quanta to run.
    skypix
        Candidates for the common pixelization.
    images, matches
        Images in a repository of records, and how many of them contain one
        position.
    points
        Positions that are looked up.
    darks
        Darks that are combined.
    graph
        Quanta of a graph, whole exposures.
    graph_images
        Images of graphs for patches of targets, even numbers.
    stale_targets
        Targets whose spectra are compared with the inputs of today.
    target_images, remote_images
        Images of one target, in files and on a server.
    targets, target_frames
        Targets, and whole frames that they are measured in.
    whole_frames, whole_side
        Frames of a run from targets to channels, and their rows and columns
        (pixels).
    rounds
        Repetitions of work that takes seconds.
    short_rounds
        Repetitions of work that takes milliseconds.
    start_rounds
        Repetitions of starts of a command.
    """

    files: int = 12_000
    few_files: int = 6_000
    many_files: int = 60_000
    remote_files: int = 3_000
    lines: tuple[int, ...] = (10_000, 100_000, 1_400_000)
    side: int = 2040
    psf_shape: tuple[int, int, int] = (121, 101, 101)
    cutout: int = 100
    quanta: tuple[int, int] = (6, 198)
    busy: tuple[tuple[float, int], ...] = ((0.05, 24), (0.5, 24), (5.0, 12))
    skypix: tuple[str, ...] = ("htm4", "htm5", "healpix4", "healpix5")
    images: int = 100_002
    matches: int = 24_000
    points: int = 50
    darks: int = 50
    graph: int = 12_000
    graph_images: tuple[int, ...] = (100, 1_000, 10_000)
    stale_targets: tuple[int, ...] = (500, 1000)
    target_images: int = 400
    remote_images: int = 40
    targets: int = 1000
    target_frames: int = 20
    whole_frames: int = 100
    whole_side: int = 1020
    rounds: int = 5
    short_rounds: int = 31
    start_rounds: int = 31


FULL = Scale()
"""What the figures of the documentation were taken with."""

TINY = Scale(
    files=12,
    few_files=6,
    many_files=18,
    remote_files=6,
    lines=(60, 600),
    side=64,
    psf_shape=(4, 11, 11),
    cutout=8,
    quanta=(1, 6),
    busy=((0.01, 2),),
    skypix=("htm4", "healpix4"),
    images=60,
    matches=12,
    points=2,
    darks=3,
    graph=12,
    graph_images=(4, 12),
    stale_targets=(3, 5),
    target_images=3,
    remote_images=2,
    targets=5,
    target_frames=2,
    whole_frames=2,
    whole_side=64,
    rounds=1,
    short_rounds=2,
    start_rounds=1,
)
"""To see whether the benchmarks run; the figures mean nothing."""
