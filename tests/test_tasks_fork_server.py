"""What the fork server loads before it forks."""

from __future__ import annotations

import importlib
import multiprocessing
import subprocess
import sys

import pytest

from spherex.tasks.fork_server import PRELOADED


@pytest.mark.parametrize("module", PRELOADED)
def test_what_is_preloaded_exists(module):
    # The fork server itself passes over a wrong name without a word.
    assert importlib.import_module(module)


def child(names: list[str]) -> None:
    missing = [name for name in names if name not in sys.modules]
    sys.exit(f"not preloaded: {missing}" if missing else 0)


@pytest.mark.slow
def test_a_child_finds_everything_loaded():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=child, args=(PRELOADED,))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_importing_the_tasks_sets_up_no_process_and_loads_no_image_code():
    # What a fork server preloads is set in multiprocessing.forkserver.
    unwanted = {"astropy.nddata", "matplotlib", "multiprocessing.forkserver"}
    code = f"import sys, spherex.tasks, spherex.tasks.fork_server; sys.exit(bool({unwanted} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
