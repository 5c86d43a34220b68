"""What the fork server loads before it forks."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from spherex.tasks.fork_server import PRELOADED


@pytest.mark.parametrize("module", PRELOADED)
def test_what_is_preloaded_exists(module):
    # The fork server itself passes over a wrong name without a word.
    assert importlib.import_module(module)


A_CHILD = """
import multiprocessing, sys
from spherex.tasks.fork_server import PRELOADED

def child(names):
    missing = [name for name in names if name not in sys.modules]
    sys.exit(f"not preloaded: {missing}" if missing else 0)

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=child, args=(PRELOADED,))
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


@pytest.mark.slow
def test_a_child_finds_everything_loaded(tmp_path):
    # In a process of its own: the fork server of this one may have been started by another test.
    (tmp_path / "a_child.py").write_text(A_CHILD)
    assert subprocess.run([sys.executable, tmp_path / "a_child.py"], check=False).returncode == 0


def test_importing_the_tasks_sets_up_no_process_and_loads_no_image_code():
    # What a fork server preloads is set in multiprocessing.forkserver.
    unwanted = {"astropy.nddata", "matplotlib", "multiprocessing.forkserver"}
    code = f"import sys, spherex.tasks, spherex.tasks.fork_server; sys.exit(bool({unwanted} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
