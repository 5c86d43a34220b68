"""Run a program in the process that `tests.program_server` forks for it: ``program_client.py SOCKET PROGRAM WORD...``.

It is started for each program, so it imports almost nothing.
"""

import marshal
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    request = marshal.dumps((sys.argv[2:], os.getcwd(), dict(os.environ)))
    socket.send_fds(server, [len(request).to_bytes(4)], [0, 1, 2])
    server.sendall(request)
    try:
        answer = server.recv(1)
    except ConnectionResetError:
        answer = b""
if not answer:
    print("tests.program_server has ended", file=sys.stderr)
sys.exit(answer[0] if answer else 255)
