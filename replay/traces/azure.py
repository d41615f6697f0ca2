"""Format ``azure``: the Azure LLM inference traces, CSV ``TIMESTAMP,ContextTokens,GeneratedTokens`` (2023 and 2024).

Source: Azure public dataset, AzureLLMInferenceDataset2023.md: TIMESTAMP is the moment of the invocation (UTC, seven digits in 2023,
``+00:00`` behind it in 2024).
"""

from __future__ import annotations

from replay.traces.request_csv import Layout, csv_format

LAYOUT = Layout(
    time="TIMESTAMP",
    clock="calendar",
    prompt="ContextTokens",
    output="GeneratedTokens",
    header=("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    absolute=True,
)
FORMAT = csv_format("azure", "CSV TIMESTAMP,ContextTokens,GeneratedTokens: the Azure LLM traces", LAYOUT)
