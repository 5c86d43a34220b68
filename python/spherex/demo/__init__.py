"""What bin/spherex-demo does at its end: comparison with the truth, and a picture."""

from ._check import ImageCheck, check_image
from ._picture import draw_before_and_after

__all__ = ["ImageCheck", "check_image", "draw_before_and_after"]
