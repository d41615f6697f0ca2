"""What is counted and measured of certificates, for the own metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cryptography import x509

from autoscaler.adapters.telemetry.families import Family, Labels
from autoscaler.external_metrics.certificates.authority import Pair
from autoscaler.external_metrics.certificates.reading import end_s


@dataclass(slots=True, kw_only=True)
class Figures:
    """faults: by reason, since the start. fault: the reason of what is wrong now; "" where nothing is. last_fault: in words, kept when it is
    over. last_fault_at_s: Unix seconds. step: where the rotation stands; "" without one."""

    step: str = ""
    fault: str = ""
    last_fault: str = ""
    last_fault_at_s: float | None = None
    faults: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)

    def fail(self, reason: str, words: str, at_s: float) -> bool:
        """Notes a fault; returns whether it is news: another one, or the same after all was well."""
        self.faults[reason] += 1
        news = (reason, words) != (self.fault, self.last_fault)
        self.fault, self.last_fault, self.last_fault_at_s = reason, words, at_s
        return news

    def families(
        self,
        *,
        serving: Pair | None,
        client: Pair | None,
        ca: x509.Certificate | None = None,
        steps: Sequence[str] = (),
        now_s: float,
        ahead_s: float = 0.0,
    ) -> Iterator[Family]:
        """ca: the authority, where it is ours. steps: all that there are of a rotation."""
        kinds = {
            "serving": None if serving is None else serving.leaf,
            "client": None if client is None else client.leaf,
            "ca": ca,
        }
        yield Family(
            name="certificate_expiry_seconds",
            help="Seconds until a certificate expires; negative once it has.",
            kind="gauge",
            samples={(("kind", kind),): end_s(one) - now_s for kind, one in kinds.items() if one is not None},
        )
        yield Family(
            name="certificate_rotation_step",
            help="1 for where the rotation of the certificate authority stands.",
            kind="gauge",
            samples={(("step", step),): float(step == self.step) for step in steps},
        )
        yield Family(
            name="certificate_faults_total",
            help="Times that certificates could not be read, written or used, by reason.",
            kind="counter",
            samples=_by("reason", self.faults),
        )
        yield Family(
            name="certificate_fault",
            help="1 for what is wrong with the certificates now; absent while nothing is.",
            kind="gauge",
            samples={(("reason", self.fault),): 1.0} if self.fault else {},
        )
        if self.last_fault_at_s is not None:
            yield Family(
                name="certificate_last_fault_timestamp_seconds",
                help="When something was last wrong with the certificates.",
                kind="gauge",
                samples={(): self.last_fault_at_s},
            )
        yield Family(
            name="certificate_writes_total",
            help="Writes by step of the keeping of certificates.",
            kind="counter",
            samples=_by("step", self.writes),
        )
        yield Family(
            name="certificate_clock_ahead_seconds",
            help="By how much the API server's clock is ahead of this machine's; 0 while they agree within the tolerance.",
            kind="gauge",
            samples={(): ahead_s},
        )


def _by(label: str, counted: Counter[str]) -> dict[Labels, float]:
    return {((label, word),): float(count) for word, count in counted.items()}
