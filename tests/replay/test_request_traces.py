"""Request logs in every layout: read, refused with the line and the value, and the same again after being written and read."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.errors import UsageError
from replay.standard.make_traces import CHAT, FOLDER, chat
from replay.traces.blocks import RequestBlock, request_log
from replay.traces.error import TraceError
from replay.traces.files import write_text
from replay.traces.registry import FORMATS, format_of, read_requests, read_trace, request_blocks
from replay.traces.requests import RequestLog, counted
from tests.replay.made import write

LOGS = {form.name: form for form in FORMATS if form.requests is not None}
SAMPLES = {
    "requests": "arrival_s,prompt_tokens,output_tokens\n7.25,100,10\n7.5,200,20\n9,300,30\n",
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:07.2500000,100,10\n"
    "2023-11-16 18:15:07.5000000,200,20\n2023-11-16 18:15:09.0000000,300,30\n",
    "mooncake": '{"timestamp": 7250, "input_length": 100, "output_length": 10, "hash_ids": [1, 2]}\n'
    '{"timestamp": 7500, "input_length": 200, "output_length": 20}\n{"timestamp": 9000, "input_length": 300, "output_length": 30}\n',
    "burstgpt": "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "7.25,,1.5,ChatGPT,100,10,110,API log\n7.5,4,2,GPT-4,200,20,220,Conversation log\n9,,1,GPT-4,300,30,330,API log\n",
    "servegen": 'request_id,timestamp,input_tokens,output_tokens,image_tokens\n0,7.25,100,10,"[1, 2]"\n1,7.5,200,20,[]\n2,9.0,300,30,[]\n',
}


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", LOGS)
def test_every_layout_is_known_and_read(tmp_path: Path, name: str, ending: str) -> None:
    data = SAMPLES[name].encode()
    path = tmp_path / f"small.log{ending}"
    path.write_bytes(gzip.compress(data) if ending == ".gz" else zstandard.compress(data) if ending == ".zst" else data)
    assert format_of(path).name == name
    log = read_requests(path)
    assert log.name == "small"
    np.testing.assert_allclose(log.times_s, [0.25, 0.5, 2.0], atol=1e-9)
    assert (log.prompt_tokens.tolist(), log.output_tokens.tolist()) == ([100, 200, 300], [10, 20, 30])
    assert log.start_s == (1700158507.0 if name == "azure" else 7.0)
    assert read_trace(path).counts.tolist() == counted(log).counts.tolist() == [2, 0, 1]


def test_the_azure_traces_of_2024_have_an_offset(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 02:00:01+02:00,1,2\n",
    )
    log = read_requests(path)
    np.testing.assert_allclose(log.times_s, [0.00993, 1.0])
    assert log.start_s == 1715299200.0


def test_the_order_of_lines_does_not_matter(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", "prompt_tokens,arrival_s,output_tokens\n3,1700000003,30\n1,1700000001.5,10\n\n2,1700000002,20\n"
    )
    log = read_requests(path)
    assert (log.times_s.tolist(), log.prompt_tokens.tolist(), log.start_s) == ([0.5, 1.0, 2.0], [1, 2, 3], 1700000001.0)
    assert read_trace(path).counts.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("requests", "1.5,100,many\n", r":5: output_tokens: a whole number of tokens, 0 or more, is expected \(is: 'many'\)"),
        ("requests", "1.5,-3,1\n", r":5: prompt_tokens: .* \(is: '-3'\)"),
        ("requests", "1.5,3.5,1\n", r":5: prompt_tokens: .* \(is: '3.5'\)"),
        ("requests", "1.5,3\n", ":5: has 2 values"),
        ("requests", "soon,3,4\n", r":5: arrival_s: a number of seconds is expected \(is: 'soon'\)"),
        ("requests", "1e300,3,4\n", r":5: arrival_s: a number of seconds is expected \(is: '1e300'\)"),
        ("azure", "2023-13-16 18:15:07,3,4\n", r":5: TIMESTAMP: a moment such as .* \(is: '2023-13-16 18:15:07'\)"),
        ("burstgpt", "5,,1,GPT-4,9999999999,1,1,x\n", r":5: Request tokens: .* \(is: '9999999999'\)"),
        ("mooncake", '{"timestamp": 1, "input_length": "x", "output_length": 1}\n', r":4: input_length: .* \(is: 'x'\)"),
        ("mooncake", '{"timestamp": -1, "input_length": 1, "output_length": 1}\n', r":4: timestamp: milliseconds, .* \(is: -1\)"),
        ("mooncake", '{"timestamp": 1, "input_length": 1}\n', ":4: an object with .* is expected; output_length is missing"),
        ("mooncake", "{timestamp\n", ":4: is no JSON"),
    ],
)
def test_a_bad_request_is_refused_with_its_line_and_value(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = write(tmp_path / "bad", SAMPLES[name] + text)
    for read in (read_requests, read_trace):
        with pytest.raises(TraceError, match=words):
            read(path)


def test_requests_that_lie_years_apart_are_a_mistake(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "arrival_s,prompt_tokens,output_tokens\n0,1,1\n1700000000,1,1\n")
    with pytest.raises(TraceError, match="1700000000 s apart; 50000000 bins"):
        read_trace(path)


def test_a_log_without_requests_is_refused_and_counts_hold_no_requests(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no requests"):
        read_trace(write(tmp_path / "none.csv", "arrival_s,prompt_tokens,output_tokens\n"))
    with pytest.raises(UsageError, match="holds no single requests; formats that do: requests, azure"):
        read_requests(write(tmp_path / "counts.csv", "offset_s,requests\n0,1\n1,2\n"))


def test_rates_of_a_servegen_client_are_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "chunk-1-trace.csv", "0,1.5,2.5,Gamma,0.16,6.25\n600,,,,,\n1200,0.5,1.0,Weibull,1.0,2000000\n")
    found = read_trace(path)
    assert (found.bin_s, found.counts.tolist()) == (600.0, [900.0, 0.0, 300.0])
    with pytest.raises(TraceError, match=r":3: rate: 0 or more is allowed \(is: -2\)"):
        read_trace(write(path, "0,1.5,2.5,Gamma,0.16,6.25\n600,1,1,Gamma,1,1\n1200,-2,1.0,Weibull,1.0,2\n"))


@st.composite
def logs(draw: st.DrawFn) -> RequestLog:
    """Whole milliseconds, which every layout can hold."""
    millis = sorted(draw(st.lists(st.integers(0, 10**7), min_size=1, max_size=50)))
    tokens = st.lists(st.integers(0, 2**31 - 1), min_size=len(millis), max_size=len(millis))
    times_s = np.array(millis) / 1e3
    return RequestLog(
        name="t",
        start_s=float(draw(st.integers(0, 2_000_000_000))),
        times_s=times_s - np.floor(times_s[0]),
        prompt_tokens=np.array(draw(tokens), dtype=np.int32),
        output_tokens=np.array(draw(tokens), dtype=np.int32),
    )


def blocks_of(log: RequestLog, length: int) -> Iterator[RequestBlock]:
    """A log as blocks, to be written."""
    whole_s = int(log.start_s)
    for at in range(0, len(log), length):
        part = slice(at, at + length)
        yield RequestBlock(
            origin_s=whole_s,
            times_s=log.times_s[part] + (log.start_s - whole_s),
            prompt_tokens=log.prompt_tokens[part],
            output_tokens=log.output_tokens[part],
        )


@pytest.mark.parametrize("name", LOGS)
@given(log=logs(), length=st.integers(1, 60))
@settings(max_examples=40)
def test_a_log_is_the_same_after_being_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, log: RequestLog, length: int
) -> None:
    path = tmp_path_factory.mktemp("trip") / "t.txt"
    form = LOGS[name]
    assert form.write_requests is not None
    with write_text(path) as file:
        form.write_requests(blocks_of(log, length), file)
    assert format_of(path).name == name
    again = read_requests(path)
    # Seconds of a Unix time as decimal text are read as a float, which holds a quarter of a microsecond there.
    np.testing.assert_allclose(again.times_s, log.times_s, atol=1e-6 if name == "requests" else 1e-9)
    assert again.prompt_tokens.tolist() == log.prompt_tokens.tolist()
    assert again.output_tokens.tolist() == log.output_tokens.tolist()
    assert again.start_s == (log.start_s if name in ("requests", "azure") else 0.0)
    joined = request_log(blocks_of(log, length), "t")
    assert (joined.start_s, joined.times_s.tolist()) == (log.start_s, log.times_s.tolist())


def test_a_large_log_is_counted_in_bounded_memory(tmp_path: Path) -> None:
    """The memory is that of one block, whatever the file's size: four times the file takes no more."""
    path = tmp_path / "big.csv"
    peaks = []
    for megabytes in (6, 24):
        line = "{},Model,1000,100,1100,API log of a request that was long enough\n"
        with path.open("w") as file:
            file.write("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n")
            written, second = 0, 0
            while written < megabytes << 20:
                written += file.write("".join(line.format(second + k / 1000) for k in range(1000)))
                second += 1
        tracemalloc.start()
        series = read_trace(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert series.counts.tolist() == [1000.0] * second
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 60 << 20


@pytest.mark.traces
@pytest.mark.parametrize(
    ("name", "requests", "span_s"), [("azure-llm-2023-conv.csv.gz", 19366, 3502), ("mooncake-conversation.jsonl.gz", 12031, 3537)]
)
def test_the_shared_token_traces(shared_traces: Path, name: str, requests: int, span_s: int) -> None:
    log = read_requests(shared_traces / name)
    series = read_trace(shared_traces / name)
    assert len(log) == requests == series.counts.sum()
    assert abs(series.span_s - span_s) < 10
    assert series.counts.tolist() == counted(log).counts.tolist()
    assert 500 < log.prompt_tokens.mean() < 20_000
    assert sum(len(block) for block in request_blocks(shared_traces / name)) == requests


def test_the_made_requests_are_what_their_maker_makes() -> None:
    found = read_requests(FOLDER / CHAT)
    arrival_s, prompt, output = chat()
    np.testing.assert_allclose(found.times_s + found.start_s, arrival_s, atol=1e-6)
    assert (found.prompt_tokens.tolist(), found.output_tokens.tolist()) == (prompt.tolist(), output.tolist())
    assert (FOLDER / CHAT).stat().st_size < 16_000
