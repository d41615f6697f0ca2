"""Format ``requests``: CSV with the columns ``arrival_s,prompt_tokens,output_tokens``, one line a request; what others are converted to.

arrival_s: Unix seconds, or seconds from any start. Other columns are passed over, order of columns and of lines does not matter.
"""

from __future__ import annotations

from replay.traces.request_csv import Layout, csv_format

LAYOUT = Layout(
    time="arrival_s",
    clock="seconds",
    prompt="prompt_tokens",
    output="output_tokens",
    header=("arrival_s", "prompt_tokens", "output_tokens"),
    absolute=True,
)
FORMAT = csv_format("requests", "CSV arrival_s,prompt_tokens,output_tokens: one line a request", LAYOUT)
