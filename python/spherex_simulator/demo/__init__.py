"""What bin/spherex-demo does at the end of each act: comparison with the truth, and a picture."""

from ._check import ImageCheck, check_image
from ._picture import draw_before_and_after
from ._spectra import SpectrumCheck, TruthError, check_spectrum, read_truth, with_truth
from ._spectra_picture import draw_with_truth

__all__ = [
    "ImageCheck",
    "SpectrumCheck",
    "TruthError",
    "check_image",
    "check_spectrum",
    "draw_before_and_after",
    "draw_with_truth",
    "read_truth",
    "with_truth",
]
