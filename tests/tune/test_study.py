"""The file remembers what was paid for, and of what it is a study."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler.errors import OutsideError, UsageError
from replay.tune.batch import Batch
from replay.tune.parts import Stretch
from replay.tune.study import Study
from replay.tune.trial import Trial
from tests.tune.made import ref

SETTING = {"manifest": "a", "traffic": "b"}


def batch(until_s: int = 60, **params: float) -> Batch:
    return Batch(trace=0, stretch=Stretch(from_s=0, until_s=until_s), candidates=((ref("target", **params),),))


def test_scores_come_back_for_the_very_same_batch_only(tmp_path: Path) -> None:
    study = Study(tmp_path / "sub" / "x.study", SETTING)
    study.keep("models/llama", batch(target=1.0), [{"cost": None, "attained_ratio": 0.1}])
    study.close()
    again = Study(tmp_path / "sub" / "x.study", SETTING)
    assert again.known("models/llama", batch(target=1.0)) == [{"cost": None, "attained_ratio": 0.1}]
    for other in (batch(target=1.1), batch(until_s=120, target=1.0)):
        assert again.known("models/llama", other) is None
    assert again.known("models/other", batch(target=1.0)) is None
    again.close()


def test_a_study_of_something_else_is_refused_or_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.study"
    first = Study(path, SETTING)
    first.keep("s", batch(), [])
    first.note("s", [Trial(number=0, values={"x": 1.0}, faults=("no",))])
    assert first.trials() == 1
    first.close()
    with pytest.raises(UsageError, match="with another traffic; name another file with --study"):
        Study(path, {**SETTING, "traffic": "c"})
    anew = Study(path, {**SETTING, "traffic": "c"}, anew=True)
    assert anew.known("s", batch()) is None
    assert anew.trials() == 0
    anew.remove()
    assert not path.exists()


def test_a_file_that_is_no_study(tmp_path: Path) -> None:
    path = tmp_path / "x.study"
    path.write_text("offset_s,requests\n" * 100, encoding="utf-8")
    with pytest.raises(OutsideError, match="is no study that can be used"):
        Study(path, SETTING)
    assert path.read_text("utf-8").startswith("offset_s"), "nobody's file is touched"
