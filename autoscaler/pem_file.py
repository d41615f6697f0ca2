"""Keys and certificates as files, for Python's `ssl` loads them from files only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def as_file(content: bytes) -> Iterator[str]:
    """A path under which `content` can be read while the block runs. In memory where the system can (Linux): the root file system is read-only,
    and keys have no business on disks. Else a file that only we can read, and that is gone at once."""
    if hasattr(os, "memfd_create"):
        try:
            descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        except OSError:  # a kernel or a sandbox without it
            pass
        else:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                yield f"/proc/self/fd/{file.fileno()}"
            return
    with tempfile.NamedTemporaryFile(prefix="autoscaler-") as file:  # mode 0600
        file.write(content)
        file.flush()
        yield file.name
