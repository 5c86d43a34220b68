"""Fast children for ``pipetask run -j N --start-method forkserver``."""

from __future__ import annotations

import multiprocessing

PRELOADED = [
    "lsst.ctrl.mpexec.cli.pipetask",
    "lsst.ctrl.mpexec.cli.cmd",
    "lsst.ctrl.mpexec.cli.script",
    "lsst.pipe.base",
    "lsst.pipe.base.mp_graph_executor",
    "lsst.pipe.base.single_quantum_executor",
    "lsst.pipe.base.formatters.pexConfig",
    "lsst.daf.butler.direct_butler",
    "lsst.daf.butler.datastores.fileDatastore",
    "lsst.daf.butler.datastores.chainedDatastore",
    "lsst.daf.butler.datastores.inMemoryDatastore",
    "lsst.daf.butler.formatters.astropyTable",
    "lsst.daf.butler.formatters.json",
    "lsst.daf.butler.formatters.logs",
    "lsst.daf.butler.formatters.matplotlib",
    "lsst.daf.butler.formatters.packages",
    "lsst.daf.butler.formatters.parquet",
    "lsst.daf.butler.formatters.yaml",
    "lsst.daf.butler.registry.attributes",
    "lsst.daf.butler.registry.bridge.monolithic",
    "lsst.daf.butler.registry.collections.synthIntKey",
    "lsst.daf.butler.registry.databases.sqlite",
    "lsst.daf.butler.registry.datasets.byDimensions",
    "lsst.daf.butler.registry.dimensions.static",
    "lsst.daf.butler.registry.opaque",
    "lsst.daf.butler.registry.sql_registry",
    "astropy.io.fits",
    "astropy.nddata",
    "astropy.stats",
    "astropy.table",
    "astropy.wcs",
    "matplotlib.figure",
    "photutils.geometry",
    "pyarrow.parquet",
    "scipy.ndimage",
    "scipy.spatial",
    "spherex.fits",
    "spherex.formatters",
    "spherex.formatters.tables",
    "spherex.image",
    "spherex.photometry",
    "spherex.spectra",
    "spherex.tasks",
]
"""Modules that a child needs for any quantum. What is missing here is imported
by every child again.
"""


def preload_fork_server() -> None:
    """Have the fork server import what every quantum needs.

    ``pipetask run -j N`` starts a new process for each quantum, which imports
    everything anew. Children of a fork server that has the modules already
    begin to work at once. Importing `spherex.tasks`, as ``pipetask`` does when
    it builds a pipeline, is early enough: the server starts with the first
    child.
    """
    multiprocessing.set_forkserver_preload(PRELOADED)
