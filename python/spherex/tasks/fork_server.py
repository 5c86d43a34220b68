"""``pipetask`` with a fork server that has the modules of every quantum loaded.

``pipetask run -j N --start-method forkserver`` forks a process for each quantum
off a server that has not loaded any module: every process imports
the modules of LSST, of astropy and of this package again. Started by

``python -m spherex.tasks.fork_server run -j N --start-method forkserver ...``

``pipetask`` tells the server to import them once. An import of this module
changes nothing.
"""

from __future__ import annotations

import multiprocessing

PRELOADED = [
    "astropy.stats",
    "lsst.ctrl.mpexec.cli.cmd",
    "lsst.ctrl.mpexec.cli.pipetask",
    "lsst.daf.butler.datastores.chainedDatastore",
    "lsst.daf.butler.datastores.fileDatastore",
    "lsst.daf.butler.datastores.inMemoryDatastore",
    "lsst.daf.butler.direct_butler",
    "lsst.daf.butler.formatters.json",
    "lsst.daf.butler.formatters.logs",
    "lsst.daf.butler.formatters.matplotlib",
    "lsst.daf.butler.formatters.yaml",
    "lsst.daf.butler.registry.attributes",
    "lsst.daf.butler.registry.collections.synthIntKey",
    "lsst.daf.butler.registry.datasets.byDimensions",
    "lsst.daf.butler.registry.dimensions.static",
    "lsst.pipe.base.formatters.pexConfig",
    "matplotlib.figure",
    "photutils.geometry",
    "scipy.spatial",
    "spherex.fits",
    "spherex.formatters.tables",
    "spherex.spectra",
    "spherex.tasks",
]
"""Modules that the fork server imports, with all that these import themselves."""


def main() -> None:
    """Run ``pipetask`` with the arguments of the command line."""
    from lsst.ctrl.mpexec.cli.pipetask import main as pipetask

    multiprocessing.set_forkserver_preload(PRELOADED)
    pipetask()


if __name__ == "__main__":
    main()
