"""A process that has the modules of all programs loaded, and forks itself for each of them.

A start of ``butler`` or ``pipetask`` takes about two seconds of processor time,
nearly all of it for imports, and the tests start hundreds of them. A program
that is forked has its own arguments, environment, working directory and
standard files. It is not a child of who asked for it: tests that send signals or
set limits, or whose variables are read at import, start it by
`tests.programs.start_program` or `command_of`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import marshal
import multiprocessing
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAMS = {
    "butler": ("lsst.daf.butler.cli.butler", "main"),
    "pipetask": ("lsst.ctrl.mpexec.cli.pipetask", "main"),
    "spherex-simulate": ("spherex_simulator.command", "simulate"),
}
"""Module and function of each program."""
COMMANDS = ("lsst.daf.butler.cli.cmd", "lsst.daf.butler.script", "spherex.cli.commands")
"""Modules that the programs import when they need a command."""


@functools.cache
def folder_of_programs() -> Path:
    """Return a folder with a script for each program, which the server runs; it ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="programs"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen(64)
        # The allocator of Arrow has a thread, and stops it while a process forks.
        quiet = ["-W", "ignore:This process:DeprecationWarning"]
        command = [sys.executable, *quiet, "-m", "tests.program_server", str(listener.fileno())]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        # How object stores are asked is set up at import: not as the first test that runs a program wants it.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_"))}
        server = subprocess.Popen(
            command, env=kept | {"PYTHONPATH": path}, pass_fds=[listener.fileno()], stdin=subprocess.PIPE
        )
    for name in PROGRAMS:
        words = [sys.executable, "-IS", str(ROOT / "tests" / "program_client.py"), str(folder / "socket"), name]
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        script.chmod(0o755)
    atexit.register(server.wait)
    atexit.register(server.stdin.close)
    return folder


def serve(listener: socket.socket) -> None:
    """Fork a process for each client, until the process that started this one closes its standard input."""
    import lsst.daf.butler

    from spherex.tasks.fork_server import PRELOADED

    from .parsed_yamls import keep_parsed_yamls

    for module in (*PRELOADED, *(module for module, _ in PROGRAMS.values()), *COMMANDS):
        importlib.import_module(module)
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("lsst.dax.obscore.cli.cmd")  # of an extra
    keep_parsed_yamls(Path(lsst.daf.butler.__file__).parent / "configs", ROOT / "python" / "spherex" / "configs")
    # What a collection of garbage touches is copied in each process: 1.8 s for ``butler --help``, 0.4 s without.
    gc.collect()
    gc.freeze()
    # Processes that have ended leave no trace.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            return
        client, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            attend(client)
            os._exit(0)
        client.close()


def attend(client: socket.socket) -> None:
    """Run the program of one client in a child of this process, and send its status."""
    size, files, _, _ = socket.recv_fds(client, 4, 3)
    request = b""
    while len(request) < int.from_bytes(size):
        request += client.recv(2**16)
    program = multiprocessing.get_context("fork").Process(target=run, args=(*marshal.loads(request), files))
    program.start()
    for file in (0, 1, 2, *files):
        # Who reads what the program prints waits for the end of all that have the file open.
        os.close(file)
    select.select([client, program.sentinel], [], [])
    # A client that was killed cannot be read to its end: neither does the program go on.
    if program.is_alive():
        program.kill()
    program.join()
    status = program.exitcode
    with contextlib.suppress(BrokenPipeError):
        client.sendall(bytes([status if status >= 0 else 128 - status]))


def run(words: list[str], folder: str, environment: dict[str, str], files: list[int]) -> None:
    """Run a program in this process, as its script would do."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # multiprocessing has put nothing in its place
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    # Processes that the program spawns do not import this module.
    main = sys.modules["__main__"]
    main.__spec__, main.__package__ = None, ""
    del main.__file__
    sys.argv = words
    module, function = PROGRAMS[words[0]]
    sys.exit(getattr(importlib.import_module(module), function)())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
