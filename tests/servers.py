"""Servers that the tests start: HTTP and relays in threads, a cluster with Slurm in processes."""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """Handler that logs nothing."""

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server on a free port.

    Parameters
    ----------
    handler
        Handler of the requests.

    Yields
    ------
    uri
        URI of the server, without a slash at the end.
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class Relay:
    """TCP relay to a server of this machine, which can be stopped and started again.

    Parameters
    ----------
    target
        Port of the server.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._sockets: list[socket.socket] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        """Port of the relay."""

    def start(self) -> None:
        """Accept connections."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self._sockets.append(listener)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        """Close the port and all connections."""
        while self._sockets:
            closing = self._sockets.pop()
            # Wakes the thread that waits for it.
            with contextlib.suppress(OSError):
                closing.shutdown(socket.SHUT_RDWR)
            closing.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                pair = listener.accept()[0], socket.create_connection(("127.0.0.1", self._target))
                self._sockets += pair
                for source, sink in (pair, pair[::-1]):
                    threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


SLURM_CONF = """\
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ClusterName=spherex
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={first} CPUs=2 RealMemory=1000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={second} CPUs=2 RealMemory=1000
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
"""Two nodes on this machine."""
SLURM_PROGRAMS = ("munged", "slurmctld", "slurmd", "sinfo", "sbatch", "srun")


@contextlib.contextmanager
def slurm_cluster() -> Iterator[Path]:
    """Run a cluster of two nodes on this machine.

    Yields
    ------
    folder
        Directory with ``slurm.conf``, to which ``SLURM_CONF`` has to point, and ``slurmctld.log``.
    """
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    programs = {name: shutil.which(name, path=path) for name in SLURM_PROGRAMS}
    if missing := [name for name, program in programs.items() if program is None]:
        pytest.skip(f"there is no Slurm here ({', '.join(missing)}): install slurm-wlm and munge")
    if os.getuid() != 0:
        pytest.skip("only root can start Slurm with the accounts of this machine")
    with tempfile.TemporaryDirectory(dir="/tmp") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        # munged wants every user to reach its socket.
        folder.chmod(0o755)
        for part in ("state", "n1", "n2"):
            (folder / part).mkdir()
        with contextlib.ExitStack() as held:
            ports = [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(3)]
        config, key = folder / "slurm.conf", folder / "munge.key"
        config.write_text(SLURM_CONF.format(folder=folder, controller=ports[0], first=ports[1], second=ports[2]))
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {"key-file": key, "socket": folder / "munge.socket", "seed-file": folder / "munged.seed"}
        files |= {"pid-file": folder / "munged.pid", "log-file": folder / "munged.log"}
        for program, *options in [
            ("munged", "--foreground", *(f"--{option}={path}" for option, path in files.items())),
            ("slurmctld", "-D", "-c", "-f", config),
            ("slurmd", "-D", "-N", "n1", "-f", config),
            ("slurmd", "-D", "-N", "n2", "-f", config),
        ]:
            stack.enter_context(_running([programs[program], *map(str, options)], folder))
        env = os.environ | {"SLURM_CONF": str(config)}
        command = [programs["sinfo"], "--noheader", "--states=idle", "--format=%D"]
        deadline = time.monotonic() + 60
        while subprocess.run(command, capture_output=True, text=True, env=env, check=False).stdout.strip() != "2":
            assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()
            time.sleep(0.2)
        yield folder


@contextlib.contextmanager
def _running(command: list[str], folder: Path) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as server:
        try:
            yield
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                # A slurmd that has lost its controller tries to reach it for minutes.
                server.kill()


if __name__ == "__main__":
    # For a trial of doc/scale_out.md by hand.
    with contextlib.suppress(KeyboardInterrupt), slurm_cluster() as cluster:
        print(f"export SLURM_CONF={cluster / 'slurm.conf'}", flush=True)
        signal.pause()
