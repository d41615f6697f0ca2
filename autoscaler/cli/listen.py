"""The address of --listen."""

from __future__ import annotations

from autoscaler.errors import UsageError


def parse_listen(text: str) -> tuple[str, int]:
    """``127.0.0.1:8080``, ``[::1]:8080``, ``:8080`` (all addresses) → (host, port). Port 0: any free one. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen: '{text}' is not allowed; ADDRESS:PORT with a port from 0 to 65535, such as 127.0.0.1:8080")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise UsageError(f"--listen: '{text}' is not allowed; an IPv6 address wants brackets, such as [::1]:8080")
    return host.strip("[]"), int(port)
