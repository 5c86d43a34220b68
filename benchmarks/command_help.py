"""``butler --help`` with and without our plugin."""

from __future__ import annotations

__all__ = ["run"]

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lsst.daf.butler

from .measure import Cost, run_process, take_turns
from .report import Row, ratio_row
from .scale import Scale

_OURS = ("spherex", "__editable__.spherex")
_COMMAND = "ingest-simulated"


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`.

    Python is started without its own site-packages, and with a folder of
    links to all that is in there, in one case all but our distribution.
    """
    packages = Path(lsst.daf.butler.__file__).parents[3]
    works: dict[str, Callable[[], Cost]] = {}
    for name, is_with in (("with", True), ("without", False)):
        folder = scratch / name
        _link(packages, folder, is_with)
        works[name] = partial(_help, folder, is_with)
    take_turns(works, 1)
    costs = take_turns(works, scale.start_rounds)
    for name in works:
        shutil.rmtree(scratch / name)
    return [ratio_row("butler --help with the plugin, against without", costs["with"], costs["without"], 1.03)]


def _link(packages: Path, folder: Path, is_with: bool) -> None:
    folder.mkdir()
    for entry in packages.iterdir():
        if is_with or not entry.name.startswith(_OURS):
            (folder / entry.name).symlink_to(entry)


def _help(folder: Path, is_with: bool) -> Cost:
    program = (
        f"import sys, site; site.addsitedir({str(folder)!r}); sys.argv[0] = 'butler'; "
        "from lsst.daf.butler.cli.butler import main; main()"
    )
    cost, output = run_process([sys.executable, "-I", "-S", "-c", program, "--help"], {"DAF_BUTLER_PLUGINS": ""})
    if (_COMMAND in output) != is_with:
        raise RuntimeError(
            f"butler --help {'lacks' if is_with else 'has'} {_COMMAND}: this benchmark needs spherex_butler "
            f"installed by pip beside lsst-daf-butler, and not set up in another way too"
        )
    return cost
