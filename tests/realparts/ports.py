"""Free TCP ports on the loopback address."""

from __future__ import annotations

import itertools
import os
import socket

LOOPBACK = "127.0.0.1"

# Below the range from which the kernel takes the local ports of outgoing connections (32768 and up): a server that is
# stopped and started again must find its port free. Two test runs begin at different places.
_FIRST, _COUNT = 20_000, 12_000
# The workers of one run (gw0, gw1, …) are told apart by far more ports than each takes.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
_RUN, _NUMBER = (os.getppid(), int(_WORKER.removeprefix("gw"))) if _WORKER else (os.getpid(), 0)
_candidates = itertools.count((_RUN * 97 + _NUMBER * 4_000) % _COUNT)


def free_port() -> int:
    """A port that nobody listens on. Each is handed out once per run."""
    for _ in range(_COUNT):
        port = _FIRST + next(_candidates) % _COUNT
        with socket.socket() as probe:
            # As servers do: a connection of an earlier one that is still in TIME_WAIT is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port between {_FIRST} and {_FIRST + _COUNT}")
