from __future__ import annotations

import numpy as np
import pytest

from replay.traces.requests import RequestLog, counted


def log(*times_s: float) -> RequestLog:
    tokens = np.arange(len(times_s), dtype=np.int32)
    return RequestLog(times_s=np.array(times_s), prompt_tokens=tokens, output_tokens=tokens + 1, name="made", start_s=100.0)


def test_a_log_counts_its_requests_bin_by_bin() -> None:
    made = log(0.0, 0.9, 1.0, 4.0, 4.0)
    assert (len(made), made.span_s) == (5, 5)
    by_second = counted(made)
    assert by_second.counts.tolist() == [2, 1, 0, 0, 2]
    assert (by_second.name, by_second.start_s, by_second.bin_s) == ("made", 100.0, 1.0)
    assert counted(made, 2.0).counts.tolist() == [3, 0, 2]
    assert counted(log()).counts.tolist() == [0]


def test_a_log_whose_columns_don_t_fit_is_refused() -> None:
    tokens = np.ones(2, dtype=np.int32)
    with pytest.raises(ValueError, match="differ in length"):
        RequestLog(times_s=np.array([0.0]), prompt_tokens=tokens, output_tokens=tokens)
    with pytest.raises(ValueError, match="rising"):
        log(1.0, 0.5)
    with pytest.raises(ValueError, match="rising"):
        log(-1.0)
