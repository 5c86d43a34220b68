"""End of each act of bin/spherex-demo: comparison with the truth, and a picture."""

from .images import ImageCheck, check_image, draw_before_and_after
from .spectra import SpectrumCheck, TruthError, check_spectrum, draw_with_truth, read_truth, with_truth

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
