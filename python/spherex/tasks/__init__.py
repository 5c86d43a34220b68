"""PipelineTasks of SPHEREx."""

from ._fork_server import PRELOADED, preload_fork_server
from ._quick_look import QuickLookConfig, QuickLookConnections, QuickLookTask
from ._subtract import SubtractConfig, SubtractConnections, SubtractTask

__all__ = [
    "PRELOADED",
    "QuickLookConfig",
    "QuickLookConnections",
    "QuickLookTask",
    "SubtractConfig",
    "SubtractConnections",
    "SubtractTask",
]

preload_fork_server()
