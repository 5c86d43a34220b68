"""What can be wrong with a file."""

from __future__ import annotations

__all__ = ["ProductError"]


class ProductError(ValueError):
    """A file is damaged, cut short, or not the product it should be.

    The message says what is wrong; who knows the file's address adds it.
    """
