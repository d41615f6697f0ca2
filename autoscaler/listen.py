"""The address of --listen, of every command that has it: how it is read, and why it can't be had."""

from __future__ import annotations

import errno

from autoscaler.errors import OutsideError, UsageError


def parse_listen(text: str) -> tuple[str, int]:
    """``127.0.0.1:8080``, ``[::1]:8080``, ``:8080`` (all addresses) → (host, port). Port 0: any free one. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen: '{text}' is not allowed; ADDRESS:PORT with a port from 0 to 65535, such as 127.0.0.1:8080")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise UsageError(f"--listen: '{text}' is not allowed; an IPv6 address wants brackets, such as [::1]:8080")
    return host.strip("[]"), int(port)


def not_listening(host: str, port: int, fault: OSError) -> OutsideError:
    """What is to be raised from the `fault` of listening there."""
    where = f"{host}:{port}"
    if fault.errno == errno.EADDRINUSE:
        why = f"{where} is taken by another program; choose another port, or 0 for any free one"
    elif fault.errno == errno.EACCES:
        why = f"{where} may not be used by this user; choose a port above 1023"
    else:
        why = f"{where} can't be listened on: {fault.strerror or fault}"
    return OutsideError(f"--listen: {why}")
