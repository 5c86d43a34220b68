"""What happens to files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def not_fits(path: Path) -> None:
    path.write_text("not FITS at all " * 400)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(size: int) -> Callable[[Path], None]:
    def shorten(path: Path) -> None:
        os.truncate(path, size)

    shorten.__name__ = f"cut_at_{size}"
    return shorten


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(bytes(2880))
