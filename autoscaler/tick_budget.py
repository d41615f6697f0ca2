"""How a tick's time is shared out: what each step that waits for somebody may take of the interval, here and nowhere else.

Even where everything hangs at once a tick so ends before the next one is due. What isn't done at its deadline is unknown, decided again, or
written with the next tick. What is left over is for work that waits for nobody: adding up, deciding, rendering.
"""

from __future__ import annotations

from typing import Final

PAST: Final = 0.05
"""A tick waits so long for a past that it has begun to read; the reading itself goes on beside the ticks."""
READ: Final = 0.45
NODES: Final = 0.05
ACT: Final = 0.25
POOLS: Final = 0.02
"""The pools' status."""
STATUS: Final = 0.10
EVENTS: Final = 0.03

ALL: Final = PAST + READ + NODES + ACT + POOLS + STATUS + EVENTS
"""0.95; the rest is decided in."""
