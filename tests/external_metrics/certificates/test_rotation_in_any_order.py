"""Rotations by several replicas, in any order, with deaths between any two writes, lost Secrets and late looks: who serves is trusted.

The replicas of this model do what the keeper does (look, decide, compare and swap), on a Secret and a caBundle that are variables. API servers
learn of a caBundle late, and replicas of a Secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoscaler.external_metrics.certificates.authority import Lifetimes, Pair, service_names
from autoscaler.external_metrics.certificates.clients import Clients, Whose
from autoscaler.external_metrics.certificates.plan import Asked, Plan
from autoscaler.external_metrics.certificates.reading import end_s, is_trusted
from autoscaler.external_metrics.certificates.rotation import Seen, next_step
from autoscaler.external_metrics.certificates.serving import pair_to_serve, usable
from autoscaler.external_metrics.certificates.steps import Restore, Tell, Wait
from autoscaler.external_metrics.certificates.stored import Step, Stored, data_of, stored_in
from autoscaler.external_metrics.certificates.writing import after

SETTLE_S, OVERLAP_S, LATE_S = 60, 600, 50
PLAN = Plan(
    names=service_names("external-metrics", "metrics"),
    lifetimes=Lifetimes(ca_s=12000.0, leaf_s=3000.0),
    settle_s=SETTLE_S,
    overlap_s=OVERLAP_S,
)


@dataclass
class Cluster:
    """versions count writes, as resourceVersions do."""

    now_s: float = 1.8e9
    secret: dict[str, str] | None = None
    secret_version: int = 0
    bundle: frozenset[x509.Certificate] = frozenset()
    bundle_version: int = 0
    past: list[tuple[float, frozenset[x509.Certificate]]] = field(default_factory=list)
    asked: Asked = Asked.NOTHING

    def tell(self, bundle: frozenset[x509.Certificate]) -> None:
        self.past.append((self.now_s, self.bundle))
        self.bundle = bundle
        self.bundle_version += 1

    def believed(self) -> list[frozenset[x509.Certificate]]:
        """What some API server may still take for the caBundle."""
        return [self.bundle, *(bundle for until_s, bundle in self.past if until_s > self.now_s - LATE_S)]


@dataclass
class Replica:
    """One process. in_hand and remembered are lost when it dies."""

    cluster: Cluster
    in_hand: Pair | None = None
    remembered: Stored | None = None
    told: tuple[object, float] | None = None

    def read_clients(self) -> tuple[Clients, int]:
        return Clients(whose=Whose.OURS, trusted=self.cluster.bundle), self.cluster.bundle_version

    def read_secret(self) -> tuple[Stored | None, int]:
        secret = self.cluster.secret
        return None if secret is None else stored_in(secret), self.cluster.secret_version

    def look(self) -> bool:
        return self.act(self.read_clients(), self.read_secret())

    def act(self, first: tuple[Clients, int], second: tuple[Stored | None, int]) -> bool:
        """On what was read, perhaps a while ago. Whether something was written."""
        (clients, bundle_version), (stored, secret_version) = first, second
        cluster, now_s = self.cluster, self.cluster.now_s
        good = usable(stored, clients, now_s)
        pair = pair_to_serve(good, self.in_hand, clients, now_s)
        self.in_hand = pair or self.in_hand
        step = next_step(
            Seen(
                stored=stored,
                remembered=self.remembered,
                clients=clients,
                told_s=self._told_s(good, clients),
                now_s=now_s,
                asked=cluster.asked,
            ),
            PLAN,
        )
        if good is not None and good.is_whole and not isinstance(step, Restore):
            self.remembered = good
        if isinstance(step, Wait):
            return False
        if isinstance(step, Tell):
            assert good is not None
            if bundle_version != cluster.bundle_version:
                return False
            cluster.tell(frozenset(good.bundle))
            return True
        if secret_version != cluster.secret_version:
            return False
        cluster.secret = data_of(after(step, good or Stored(current=None), PLAN, now_s))
        cluster.secret_version += 1
        cluster.asked = Asked.NOTHING
        return True

    def _told_s(self, stored: Stored | None, clients: Clients) -> float:
        now_s = self.cluster.now_s
        if stored is None or not clients.knows(stored.bundle):
            self.told = None
            return 0.0
        what = (stored.step, stored.bundle)
        if self.told is None or self.told[0] != what:
            self.told = what, now_s
        return now_s - self.told[1]


Action = tuple[str, int, int]
ACTIONS = st.one_of(
    st.tuples(st.just("look"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("freeze"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("thaw"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("die"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("pass"), st.just(0), st.sampled_from([1, 20, SETTLE_S, 300])),
    st.tuples(st.just("ask"), st.just(0), st.integers(0, 1)),
    st.tuples(st.just("delete"), st.just(0), st.just(0)),
    st.tuples(st.just("break"), st.just(0), st.integers(0, 20)),
)


def settle(replicas: list[Replica]) -> None:
    """All look until nobody has anything to write, and once more."""
    for _ in range(40):
        written = [replica.look() for replica in replicas]
        if not any(written):
            return
    raise AssertionError("it goes on for ever")


# The list of what is trusted is broken while it is all that tells of an authority that others serve by.
@example([("delete", 0, 0), ("die", 0, 0), ("look", 0, 0), ("break", 0, 0), ("look", 0, 0)])
@settings(max_examples=150)
@given(st.lists(ACTIONS, max_size=40))
def test_who_serves_is_trusted_whatever_happens(actions: list[Action]) -> None:
    cluster = Cluster()
    replicas = [Replica(cluster) for _ in range(3)]
    frozen: dict[int, list[Any]] = {}
    settle(replicas)
    for kind, which, amount in actions:
        replica = replicas[which]
        match kind:
            case "look":
                replica.look()
            case "freeze" if which not in frozen:
                frozen[which] = [replica.read_clients()]
            case "freeze" if len(frozen[which]) == 1:
                frozen[which].append(replica.read_secret())
            case "thaw" if len(frozen.get(which, ())) == 2:
                replica.act(*frozen.pop(which))
            case "die" if sum(one.in_hand is not None for one in replicas) > 1:
                # It starts again with nothing; what it serves then is judged when clients have had the time to learn of it.
                replicas[which] = Replica(cluster)
                frozen.pop(which, None)
            case "pass":
                cluster.now_s += amount
                # Changes arrive by watch within a time that is short beside those of the plan, but for who is frozen.
                settle([one for number, one in enumerate(replicas) if number not in frozen])
            case "ask":
                cluster.asked = [Asked.ALL, Asked.LEAVES][amount]
            case "delete":
                cluster.secret, cluster.secret_version = None, cluster.secret_version + 1
            case "break" if cluster.secret:
                keys = sorted(cluster.secret)
                cluster.secret = {**cluster.secret, keys[amount % len(keys)]: "%%%"}
                cluster.secret_version += 1
        # A replica that was frozen for longer than an overlap serves what nobody trusts any more: nobody can help that.
        serving = [one for number, one in enumerate(replicas) if one.in_hand is not None and number not in frozen]
        for one in serving:
            assert one.in_hand is not None
            assert cluster.now_s < end_s(one.in_hand.leaf)
            # Who started from nothing while the Secret was lost has what clients don't know yet, and couldn't have.
            if one.remembered is not None and one.remembered.current is not None:
                for bundle in cluster.believed():
                    assert not bundle or is_trusted(one.in_hand.leaf, bundle, cluster.now_s)

    for replica, views in ((replicas[which], views) for which, views in frozen.items() if len(views) == 2):
        replica.act(*views)
    for _ in range(4):
        cluster.now_s += OVERLAP_S
        settle(replicas)
    assert cluster.secret is not None
    stored = stored_in(cluster.secret)
    assert (stored.step, stored.faults) == (Step.STEADY, ())
    assert stored.current is not None
    assert cluster.bundle == {stored.current.ca}
    assert all(replica.in_hand == stored.current.serving for replica in replicas)
