"""Continuous batching, request by request: the one loop of the request-level plant, as plain Python and as machine code.

A replica with batch b moves each of its requests on by 1 ÷ (t0 + t1 × b) tokens a second. So every replica has a *clock* that counts the
tokens each of its requests has got since the replica was last empty, and a request that joins at clock C with work w ends at clock C + w,
however the batch changes in between: per replica one heap of those ends suffices, and an event touches one replica. Moments in between
(a first token) follow exactly, since the clock is linear between events.

Requests wait in one queue, first come first served, and go to the replica with the fewest requests that has a free slot (among equals to
the one that changed last). Those lists by load, and a winner tree over the replicas' next ends, make an event cost the same for any number
of replicas, but for the tree's height.

``plain`` runs the body over lists and is the reference; ``compiled`` is numba's (the extra ``fast``) over arrays. Same operations on the
same doubles in the same order: bit by bit the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

ABSENT: Final = 0
SERVING: Final = 1
LEAVING: Final = 2
"""What a replica is: not there, taking requests, or finishing those it has."""

ARRIVED, HEAD, RETRIED, RETRY, DONE, SHOWN, LOW, PEAK = range(8)
"""Places in `counts`: requests that have come; the first of them that still waits; the next of `retry` to start; how many `retry` holds;
entries of `done` and `shown`; the smallest load of a serving replica (slots where none has room); the longest queue seen."""

WORKED, TAKEN, BUSY, OUTPUT, PREFILLED, HELD = range(6)
"""Places in `sums`, over the serving replicas since they were last zeroed: token-equivalents done, request-seconds, replica-seconds with at
least one request; over all replicas: output tokens, prefill work finished. HELD: tokens in the caches of the serving ones, at the mark."""

Advance = Callable[..., None]


def plain() -> Advance:
    """The reference: over lists."""
    return advance


@functools.cache
def compiled() -> Advance | None:
    """numba's form over arrays, or None where numba isn't installed. Its machine code is cached on disk."""
    try:
        import numba
    except ImportError:
        return None
    made: Advance = numba.njit(cache=True, fastmath=False)(advance)
    return made


def advance(
    from_s: Any,
    until_s: Any,
    mark: Any,
    counts: Any,
    sums: Any,
    came: Any,
    prompt: Any,
    prefill: Any,
    work: Any,
    started: Any,
    first: Any,
    ended: Any,
    done: Any,
    shown: Any,
    retry: Any,
    mode: Any,
    batch: Any,
    clock: Any,
    last: Any,
    due: Any,
    ends: Any,
    jobs: Any,
    pending: Any,
    soonest: Any,
    targets: Any,
    target_jobs: Any,
    tree: Any,
    heads: Any,
    after: Any,
    before: Any,
    token_s: Any,
    speed: Any,
) -> None:
    """Plays every event before until_s; with mark, brings all replicas to until_s and takes their measure.

    Requests (r + 1,): came (rising, ends with infinity), prompt tokens, prefill and whole work in token-equivalents; out: started, first
    (token), ended; done and shown: requests in the order of their end and of the discovery of their first token. retry: requests that
    start again. Replicas (p,), p a power of two: mode, batch, clock, last (when the clock was set), due (next end, infinite without one),
    pending (requests whose first token is to come) and soonest (the clock at the next one). Slots (p × K,): ends (a heap by replica) and
    jobs, targets and target_jobs (first tokens to come). tree (2p,): winners by due. heads (K + 1,), after, before: serving replicas by
    load, linked. token_s, speed (K + 1,): seconds a token takes each request at a batch, and its inverse (0 for an empty one).
    """
    slots = len(token_s) - 1
    leaves = len(tree) // 2
    arrived = counts[0]
    head = counts[1]
    retried = counts[2]
    retries = counts[3]
    ended_count = counts[4]
    shown_count = counts[5]
    low = counts[6]
    peak = counts[7]
    worked = sums[0]
    taken = sums[1]
    busy = sums[2]
    output = sums[3]
    prefilled = sums[4]
    held = sums[5]
    never = came[len(came) - 1]
    marked = 0
    while True:
        finishing = False
        marking = False
        if low < slots and (head < arrived or retried < retries):
            # Somebody waits beside a free slot: replicas have just joined.
            now = from_s
            r = heads[low]
        else:
            now = came[arrived]
            r = tree[1]
            if due[r] <= now:
                now = due[r]
                finishing = True
            if now >= until_s:
                if not mark or marked == leaves:
                    break
                now = until_s
                r = marked
                marked += 1
                finishing = False
                marking = True
            elif not finishing:
                arrived += 1
                if low >= slots:
                    waiting = arrived - head + retries - retried
                    if waiting > peak:
                        peak = waiting
                    continue
                r = heads[low]

        # The replica's clock moves on to now.
        was = batch[r]
        b = was
        base = r * slots
        to = 0.0
        waiting_first = pending[r]
        if b > 0:
            begin = clock[r]
            elapsed_s = now - last[r]
            # An end is met exactly: no rounding may leave a crumb of work.
            to = ends[base] if finishing else begin + elapsed_s * speed[b]
            moved = to - begin
            if mode[r] == 1:
                worked += b * moved
                taken += b * elapsed_s
                busy += elapsed_s
            output += (b - waiting_first) * moved
            if waiting_first > 0 and soonest[r] <= to:
                kept = base
                least = never
                for place in range(base, base + waiting_first):
                    target = targets[place]
                    j = target_jobs[place]
                    if target <= to:
                        first[j] = now - (to - target) * token_s[b]
                        output += to - target
                        prefilled += prefill[j]
                        shown[shown_count] = j
                        shown_count += 1
                    else:
                        targets[kept] = target
                        target_jobs[kept] = j
                        kept += 1
                        if target < least:
                            least = target
                waiting_first = kept - base
                pending[r] = waiting_first
                soonest[r] = least
        clock[r] = to
        last[r] = now

        if marking:
            if mode[r] == 1:
                for place in range(base, base + b):
                    j = jobs[place]
                    made = to - (ends[place] - work[j]) - prefill[j]
                    held += prompt[j] + (made if made > 0.0 else 0.0)
            continue

        if finishing:
            j = jobs[base]
            ended[j] = now
            done[ended_count] = j
            ended_count += 1
            b -= 1
            # The last of the heap takes the root's place and sinks.
            end = ends[base + b]
            j = jobs[base + b]
            hole = base
            child = base + 1
            bottom = base + b
            while child < bottom:
                if child + 1 < bottom and ends[child + 1] < ends[child]:
                    child += 1
                if ends[child] >= end:
                    break
                ends[hole] = ends[child]
                jobs[hole] = jobs[child]
                hole = child
                child = 2 * (child - base) + 1 + base
            ends[hole] = end
            jobs[hole] = j
            if b == 0:
                to = 0.0
                clock[r] = 0.0

        if mode[r] == 1 and (head < arrived or retried < retries):
            # The first in the queue starts here; what was lost with its replica goes before all others.
            if retried < retries:
                j = retry[retried]
                retried += 1
            else:
                j = head
                head += 1
            started[j] = now
            end = to + work[j]
            hole = b
            while hole > 0:
                parent = (hole - 1) >> 1
                if ends[base + parent] <= end:
                    break
                ends[base + hole] = ends[base + parent]
                jobs[base + hole] = jobs[base + parent]
                hole = parent
            ends[base + hole] = end
            jobs[base + hole] = j
            target = to + prefill[j]
            targets[base + waiting_first] = target
            target_jobs[base + waiting_first] = j
            if waiting_first == 0 or target < soonest[r]:
                soonest[r] = target
            pending[r] = waiting_first + 1
            b += 1

        if b != was:
            batch[r] = b
            if mode[r] == 1:
                follower = after[r]
                leader = before[r]
                if leader >= 0:
                    after[leader] = follower
                else:
                    heads[was] = follower
                if follower >= 0:
                    before[follower] = leader
                follower = heads[b]
                after[r] = follower
                before[r] = -1
                if follower >= 0:
                    before[follower] = r
                heads[b] = r
                if b < low:
                    low = b
                else:
                    while low < slots and heads[low] < 0:
                        low += 1

        due[r] = now + (ends[base] - to) * token_s[b] if b > 0 else never
        node = (leaves + r) >> 1
        while node >= 1:
            left = tree[2 * node]
            right = tree[2 * node + 1]
            winner = left if due[left] <= due[right] else right
            if winner == tree[node] and winner != r:
                break
            tree[node] = winner
            node >>= 1

    counts[0] = arrived
    counts[1] = head
    counts[2] = retried
    counts[3] = retries
    counts[4] = ended_count
    counts[5] = shown_count
    counts[6] = low
    counts[7] = peak
    sums[0] = worked
    sums[1] = taken
    sums[2] = busy
    sums[3] = output
    sums[4] = prefilled
    sums[5] = held
