"""Format ``burstgpt``: BurstGPT, CSV ``Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type``; since its release 2.0 with
``Session ID`` and ``Elapsed time``, too.

Source: BurstGPT's README: Timestamp is the submission in seconds from 0:00 of the first day. A request that failed has 0 response tokens: it
arrived, and is kept. All models are read; a file of one is made with any tool that filters lines.
"""

from __future__ import annotations

from replay.traces.request_csv import Layout, csv_format

LAYOUT = Layout(
    time="Timestamp",
    clock="seconds",
    prompt="Request tokens",
    output="Response tokens",
    header=("Timestamp", "Model", "Request tokens", "Response tokens", "Total tokens", "Log Type"),
    absolute=False,
)
FORMAT = csv_format("burstgpt", "CSV Timestamp,…,Request tokens,Response tokens,…: BurstGPT", LAYOUT)
