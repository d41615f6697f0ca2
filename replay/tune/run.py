"""A whole tuning: service by service, searched, judged, written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from replay.parallel import usual_jobs
from replay.plugins import installed, loadable
from replay.scaling import scaled_by_per_s
from replay.tune.asked import Loaded
from replay.tune.batch import Setting, Traffic
from replay.tune.parts import Parts, parts_of
from replay.tune.result import Tuned, judge
from replay.tune.search import Player, search
from replay.tune.space import Space, known_names, space_of
from replay.tune.study import Study
from replay.tune.trial import needed_ratio
from replay.tune.workers import Here, Processes, Workers
from replay.tune.write import tuned_text, write
from replay.world import node_pools

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of every service of the manifests, in their order. output: what was written."""

    results: tuple[Tuned, ...]
    output: Path

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "output": str(self.output),
            "services": {result.service: result.as_json() for result in self.results},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One service, with all that its search needs; made for every service before the first batch is played, so that whatever is wrong with
    what was asked is said at once."""

    space: Space
    setting: Setting
    parts: Sequence[Parts]


def prepared(loaded: Loaded) -> list[Prepared]:
    """Raises UsageError."""
    asked = loaded.asked
    meant = [one if asked.policy is None else replace(one, policies=(asked.policy,)) for one in loaded.specs]
    types = installed(ref.name for one in meant for ref in one.policies)
    known_names(meant, types, (*asked.ranges, *asked.kept))
    found = []
    for own, one, per_s in zip(loaded.specs, meant, scaled_by_per_s(loaded.specs), strict=True):
        setting = Setting(
            spec=replace(own, role=None),  # tuned for itself, on what its service's traffic means for it
            pools=node_pools(loaded.manifests),
            traffic=tuple(
                Traffic(label, trace, scenario, per_s)
                for label, trace, scenario in zip(loaded.labels, loaded.traces, loaded.scenarios, strict=True)
            ),
        )
        parts = [parts_of(each.label, each.warmup_s, len(each.demand), asked.held_out_ratio) for each in setting.traffic]
        found.append(Prepared(space=space_of(one, types, asked.ranges, asked.kept), setting=setting, parts=parts))
    return found


def tune(
    loaded: Loaded,
    services: Sequence[Prepared],
    study: Study | None,
    *,
    output: Path,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """jobs: processes of this machine. scheduler: a Dask cluster instead. Both change how long it takes, and nothing else.

    Each service is tuned for itself, with a node pool for it alone. Raises AutoscalerError.
    """
    asked = loaded.asked
    results = []
    for place, one in enumerate(services):
        own = one.setting.spec

        def told(share: float, before: int = place) -> None:
            if progress is not None:
                progress((before + share) / len(services))

        with _workers(one.setting, jobs or usual_jobs(), scheduler) as workers:
            player = Player(service=own.key, workers=workers, study=study, parts=one.parts)
            needed = needed_ratio(own.objective.promised_ratio, asked.margin_ratio)
            trials = search(
                player,
                one.space,
                trials=asked.trials,
                seed=asked.seed,
                needed_ratio=needed,
                generation=asked.generation,
                progress=told,
            )
            results.append(judge(player, one.space, own.policies, trials, margin_ratio=asked.margin_ratio, traces=loaded.labels))
    write(output, tuned_text(list(asked.manifests), results, loadable(), _came_from(loaded, services[0].parts)))
    return Outcome(results=tuple(results), output=output)


def _workers(setting: Setting, jobs: int, scheduler: str | None) -> Workers:
    if scheduler is not None:
        from replay.tune.cluster import Cluster

        return Cluster(setting, scheduler)
    return Here(setting) if jobs == 1 else Processes(setting, jobs)


def _came_from(loaded: Loaded, parts: Sequence[Parts]) -> list[str]:
    """Lines for the manifest's head. No date: the same input gives the same file."""
    asked = loaded.asked
    prints = loaded.fingerprints()
    found = [
        f"inference-autoscaler {prints['version']}, seed {asked.seed}, generations of {asked.generation}, {asked.held_out_ratio:.1%} held out, "
        f"margin {asked.margin_ratio:.1%}"
    ]
    for label, digest, part in zip(loaded.labels, prints["traffic"].split(), parts, strict=True):
        hours = [seconds / 3600 for seconds in (part.training.from_s, part.training.until_s, part.held_out.until_s)]
        found.append(
            f"trace {label} (sha256 {digest}…): training {hours[0]:.1f} h to {hours[1]:.1f} h, held out to {hours[2]:.1f} h"
        )
    found += [f"--set {path}={text} (not written below)" for path, text in asked.settings.items()]
    return found
