"""How many measurements are wrong, and whether their marks say so.

``python -m benchmarks.quality`` measures frames of `benchmarks.quality_frames`
and prints a table in Markdown: the mean over all frames, and the worst frame.
It judges with the quality and the fluxes of the package alone.
"""

from __future__ import annotations

__all__ = ["main"]

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spherex.detectors import DETECTORS
from spherex.photometry import Pixels, Profiles, measure_fluxes
from spherex.spectra import MeasureSettings
from spherex.spectra.quality import is_good, quality_bits, quality_of
from spherex_simulator.level2 import RELEASES

from .quality_frames import Scenario, make_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spherex.photometry import Fluxes

    from .quality_frames import Frame

_EVERYTHING = Scenario(unflagged_hits=0.0005, flagged_cores=0.3, clipped=0.05, has_artefacts=True)

SCENARIOS: Mapping[str, Scenario] = {
    "plain": Scenario(),
    "everything": _EVERYTHING,
    "twice the hits": Scenario(hits=0.012),
    "PSF 5 % too narrow": Scenario(width=0.95),
    "positions off by 0.1 pixel": Scenario(offset=0.1),
    "listed neighbours": Scenario(listed_neighbours=0.3),
    "unlisted neighbours": Scenario(unlisted_neighbours=0.2),
    "crowded": Scenario(is_crowded=True, distance=9),
    "correlated noise": Scenario(correlation=0.44),
    "moving": Scenario(moving=0.1),
    "VARIANCE x 1.2": Scenario(variance_factor=1.2),
    "VARIANCE / 1.2": Scenario(variance_factor=1 / 1.2),
    "everything, PSF too narrow": dataclasses.replace(_EVERYTHING, width=0.95),
}

_WRONG = 5.0
"""Standard deviations from the truth beyond which a flux is wrong."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A way to measure and to judge.

    Parameters
    ----------
    settings
        Settings of the measurement.
    has_marks
        Whether a measurement with a mark is not used.
    """

    settings: MeasureSettings = dataclasses.field(default_factory=MeasureSettings)
    has_marks: bool = True


CHOICES: Mapping[str, Choice] = {
    "rule": Choice(),
    "without-marks": Choice(has_marks=False),
    "without-rescue": Choice(MeasureSettings(bad_flags=("fit", "suspect"), suspect_flags=())),
    "without-suspects": Choice(
        MeasureSettings(bad_flags=("NONFUNC", "MISSING_DATA", "HOT", "COLD", "NONLINEAR", "PERSIST"), suspect_flags=())
    ),
}


@dataclasses.dataclass(frozen=True)
class Score:
    """What is right and wrong in a frame.

    Parameters
    ----------
    figures
        Percentages, and mean and width of (flux - truth) / error of the good
        and right measurements.
    lost, bright
        Bright stars with flagged good cores that have no good flux, and all.
    unmarked, ruined
        Clipped and moving sources whose flux is wrong and good, and all.
    """

    figures: tuple[float, ...]
    lost: int
    bright: int
    unmarked: int
    ruined: int


_FIGURES = ("wrong %", "wrong and unmarked %", "right and marked %", "without flux %", "pull mean", "pull width")
_EXPECTED = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
"""Values of the figures from which the worst frame is farthest."""


def measure(frame: Frame, settings: MeasureSettings) -> Fluxes:
    """Measure the listed sources of a frame as `spherex.measure_targets` does, but without a header."""
    table = frame.flags.table
    pixels = Pixels(
        frame.data,
        frame.variance,
        frame.flags.array,
        frame.origin,
        bad=int(table.chosen(settings.bad_flags, but=settings.suspect_flags)),
        doubtful=int(table.chosen(settings.doubtful_flags)),
        suspect=int(table.chosen(settings.suspect_flags)),
    )
    wanted = np.arange(len(frame.x))
    return measure_fluxes(pixels, frame.x, frame.y, wanted, Profiles(frame.psf), settings.fluxes)


def score_of(frame: Frame, fluxes: Fluxes, *, has_marks: bool) -> Score:
    """Compare measurements with the truth."""
    has_flux = fluxes.reason == ""
    good = has_flux
    if has_marks:
        quality = quality_of(fluxes, frame.flags.table)
        good = is_good(quality | quality_bits({"NO_FLUX": ~has_flux}, len(has_flux)))
    pull = np.where(has_flux, (fluxes.flux - frame.flux) / fluxes.flux_error, 0.0)
    wrong = has_flux & ~(np.abs(pull) <= _WRONG)
    right = has_flux & ~wrong
    # Clipped and moving sources are to be marked.
    usable = right & ~frame.is_ruined
    pulls: NDArray[np.float64] = pull[right & good]
    middle = np.median(pulls)
    figures = (
        100 * wrong.mean(),
        100 * (wrong & good).mean(),
        100 * (usable & ~good).sum() / usable.sum(),
        100 * (~has_flux).mean(),
        pulls.mean(),
        1.4826 * np.median(np.abs(pulls - middle)),
    )
    return Score(
        tuple(float(figure) for figure in figures),
        lost=int((frame.has_flagged_core & ~good).sum()),
        bright=int(frame.has_flagged_core.sum()),
        unmarked=int((frame.is_ruined & wrong & good).sum()),
        ruined=int(frame.is_ruined.sum()),
    )


def format_row(name: str, scores: Sequence[Score]) -> str:
    """Return the row of a scenario: for each figure the mean over the frames and, in brackets, the worst."""
    cells = [name]
    for place, expected in enumerate(_EXPECTED):
        values = [score.figures[place] for score in scores]
        worst = max(values, key=lambda value: abs(value - expected))
        digits = 2 if place in (0, 2, 3, 4, 5) else 3
        cells.append(f"{np.mean(values):.{digits}f} ({worst:.{digits}f})")
    for part, whole in (("lost", "bright"), ("unmarked", "ruined")):
        counts = [sum(getattr(score, field) for score in scores) for field in (part, whole)]
        cells.append("{} of {}".format(*counts) if counts[1] else "")
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.quality", description=__doc__)

    def add(option: str, known: Sequence[object], kind: Callable[[str], object], chosen: Sequence[object]) -> None:
        text = f"by default {', '.join(map(str, chosen))}"
        parser.add_argument(option, nargs="+", choices=known or None, type=kind, default=chosen, help=text)

    detectors = [detector.id for detector in DETECTORS]
    add("--seed", [], int, [401, 402])
    add("--release", list(RELEASES), str, ["qr2", "qr3"])
    add("--detector", detectors, int, detectors)
    add("--scenario", list(SCENARIOS), str, list(SCENARIOS))
    add("--choice", list(CHOICES), str, ["rule"])
    parser.add_argument("--side", type=int, default=1020, help="rows and columns of a frame (pixels); by default 1020")
    options = parser.parse_args(arguments)
    cases = list(itertools.product(options.release, options.detector, options.seed))
    for name in options.choice:
        choice = CHOICES[name]
        print(f"{name}, {len(cases)} frames of each scenario: mean (worst frame)\n")
        print(f"| | {' | '.join(_FIGURES)} | bright lost | clipped or moving, wrong and unmarked |")
        print(f"|{'---|' * (len(_FIGURES) + 3)}", flush=True)
        for scenario in options.scenario:
            scores = []
            for release, detector, seed in cases:
                frame = make_frame(SCENARIOS[scenario], release, detector, seed, options.side)
                scores.append(score_of(frame, measure(frame, choice.settings), has_marks=choice.has_marks))
            print(format_row(scenario, scores), flush=True)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
