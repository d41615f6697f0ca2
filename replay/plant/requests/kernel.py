"""Continuous batching, request by request: the one loop of the request-level plant, as plain Python and as machine code.

A replica with batch b moves each of its requests on by 1 ÷ (t0 + t1 × b) tokens a second. So every replica has a *clock* that counts the
tokens each of its requests has got since the replica was last empty, and a request that joins at clock C with work w ends at clock C + w,
however the batch changes in between: per replica one list of those ends, kept sorted, suffices, and an event touches one replica. Moments
in between (a first token) follow exactly, since the clock is linear between events.

Requests wait in one queue, first come first served, and go to the replica with the fewest requests that has a free slot (among equals to
the one that changed last). Rings of the replicas by load, and a winner tree over their next ends, make an event cost the same for any
number of replicas, but for the tree's height.

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

ARRIVED, HEAD, RETRIED, RETRY, DONE, SHOWN, LOW, PEAK, RUNNING = range(9)
"""Places in `counts`: requests that have come; the first of them that still waits; the next of `retry` to start; how many `retry` holds;
entries of `done` and `shown`; the smallest load of a serving replica (slots where none has room); the longest queue seen; requests in
batches."""

WORKED, TAKEN, BUSY, OUTPUT, PREFILLED, HELD = range(6)
"""Places in `sums`, over the serving replicas since they were last zeroed: token-equivalents done, request-seconds, replica-seconds with at
least one request; over all replicas: output tokens, prefill work finished. HELD: tokens in the caches of the serving ones, at the last mark."""

CAME, PROMPT, PREFILL, WORK, STARTED, FIRST, ENDED = range(7)
"""Rows of `requests`: arrival (rising, one more than there are, infinite); prompt tokens, prefill and whole work in token-equivalents; what
the loop finds out: when they started, had their first token, ended."""
BY_END, BY_FIRST = range(2)
"""Rows of `noted`: requests in the order of their end and of the discovery of their first token."""
MODE, BATCH, BEGIN, PENDING, NEXT = range(5)
"""Rows of `whole`, by replica: see above; requests in its batch; where its ends begin in its part of the slots; requests whose first token is
to come; where those begin."""
CLOCK, LAST, DUE = range(3)
"""Rows of `moments`, by replica: its clock, when that was set, and its next end (infinite without one)."""

_PLACE: Final = (1 << 31) - 1
"""``& _PLACE`` changes nothing. It tells the compiler that a place isn't negative, so that it need not count from the end: a seventh of the time."""

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
    requests: Any,
    noted: Any,
    retry: Any,
    whole: Any,
    moments: Any,
    slot_jobs: Any,
    slot_clocks: Any,
    tree: Any,
    rings: Any,
    rates: Any,
) -> None:
    """Plays every event before until_s; with mark, brings all replicas to until_s and takes their measure.

    counts, sums, requests (7, r + 1), noted (2, r), whole (5, p), moments (3, p): as above; p is a power of two. retry: requests that start
    again. slot_clocks, slot_jobs (2, p × 2K): of each replica's requests the clocks at which they end, and of those whose first token is to
    come the clock of that, rising; and whose they are. tree (2p,): winners by due. rings (2, K + 1 + p): the serving replicas by load,
    linked forwards and backwards, each ring from its own head at 0 … K on. rates (2, K + 1): seconds a token takes each request at a batch,
    and its inverse (0 for an empty one).
    """
    came = requests[0]
    prompt = requests[1]
    prefill = requests[2]
    work = requests[3]
    started = requests[4]
    first = requests[5]
    ended = requests[6]
    done = noted[0]
    shown = noted[1]
    mode = whole[0]
    batch = whole[1]
    begin = whole[2]
    pending = whole[3]
    begin_first = whole[4]
    clock = moments[0]
    last = moments[1]
    due = moments[2]
    jobs = slot_jobs[0]
    first_jobs = slot_jobs[1]
    ends = slot_clocks[0]
    firsts = slot_clocks[1]
    after = rings[0]
    before = rings[1]
    token_s = rates[0]
    speed = rates[1]
    slots = len(token_s) - 1
    heads = slots + 1
    window = 2 * slots
    leaves = len(tree) // 2
    arrived = counts[0]
    head = counts[1]
    retried = counts[2]
    retries = counts[3]
    ended_count = counts[4]
    shown_count = counts[5]
    low = counts[6]
    peak = counts[7]
    running = counts[8]
    worked = sums[0]
    taken = sums[1]
    busy = sums[2]
    output = sums[3]
    prefilled = sums[4]
    held = 0.0 if mark else sums[5]
    never = came[len(came) - 1]
    top = int(tree[1])
    top_due = due[top]
    marked = 0
    while True:
        finishing = False
        marking = False
        if low < slots and (head < arrived or retried < retries):
            # Somebody waits beside a free slot: replicas have just joined.
            now = from_s
            r = after[low] - heads
        else:
            now = came[arrived]
            r = top
            if top_due <= now:
                now = top_due
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
                r = after[low] - heads

        # The replica's clock moves on to now.
        r &= _PLACE
        b = batch[r] & _PLACE
        was = b
        serving = mode[r] == 1
        base = (r * window) & _PLACE
        place = (base + begin[r]) & _PLACE
        to = 0.0
        if b > 0:
            clock_was = clock[r]
            elapsed_s = now - last[r]
            # An end is met exactly: no rounding may leave a crumb of work.
            to = ends[place] if finishing else clock_was + elapsed_s * speed[b]
            moved = to - clock_was
            if serving:
                worked += b * moved
                taken += b * elapsed_s
                busy += elapsed_s
            left = pending[r]
            output += (b - left) * moved
            if left > 0:
                at = (base + begin_first[r]) & _PLACE
                if firsts[at] <= to:
                    while left > 0 and firsts[at] <= to:
                        beyond = to - firsts[at]
                        j = first_jobs[at] & _PLACE
                        first[j] = now - beyond * token_s[b]
                        output += beyond
                        prefilled += prefill[j]
                        shown[shown_count] = j
                        shown_count += 1
                        at = (at + 1) & _PLACE
                        left -= 1
                    pending[r] = left
                    begin_first[r] = at - base
        clock[r] = to
        last[r] = now

        if marking:
            if serving:
                for slot in range(place, place + b):
                    j = jobs[slot]
                    made = to - (ends[slot] - work[j]) - prefill[j]
                    held += prompt[j] + (made if made > 0.0 else 0.0)
            continue

        if finishing:
            j = jobs[place] & _PLACE
            ended[j] = now
            done[ended_count] = j
            ended_count += 1
            running -= 1
            b = (b - 1) & _PLACE
            place = (place + 1) & _PLACE
            if b == 0:
                to = 0.0
                clock[r] = 0.0
                place = base
                begin_first[r] = 0
            begin[r] = place - base

        if serving and (head < arrived or retried < retries):
            # The first in the queue starts here; what was lost with its replica goes before all others.
            if retried < retries:
                j = retry[retried]
                retried += 1
            else:
                j = head
                head += 1
            j &= _PLACE
            started[j] = now
            running += 1
            if place + b == base + window:
                for slot in range(b):
                    ends[base + slot] = ends[place + slot]
                    jobs[base + slot] = jobs[place + slot]
                place = base
                begin[r] = 0
            end = to + work[j]
            slot = (place + b) & _PLACE
            while slot > place and ends[slot - 1] > end:
                ends[slot] = ends[slot - 1]
                jobs[slot] = jobs[slot - 1]
                slot = (slot - 1) & _PLACE
            ends[slot] = end
            jobs[slot] = j
            left = pending[r]
            begins = base + begin_first[r]
            if begins + left == base + window:
                for slot in range(left):
                    firsts[base + slot] = firsts[begins + slot]
                    first_jobs[base + slot] = first_jobs[begins + slot]
                begins = base
                begin_first[r] = 0
            end = to + prefill[j]
            slot = (begins + left) & _PLACE
            while slot > begins and firsts[slot - 1] > end:
                firsts[slot] = firsts[slot - 1]
                first_jobs[slot] = first_jobs[slot - 1]
                slot = (slot - 1) & _PLACE
            firsts[slot] = end
            first_jobs[slot] = j
            pending[r] = left + 1
            b += 1

        if b != was:
            batch[r] = b
            if serving:
                node = (heads + r) & _PLACE
                follower = after[node] & _PLACE
                leader = before[node] & _PLACE
                after[leader] = follower
                before[follower] = leader
                follower = after[b] & _PLACE
                after[node] = follower
                before[node] = b
                before[follower] = node
                after[b] = node
                if b < low:
                    low = b
                else:
                    while low < slots and after[low] == low:
                        low += 1

        best = now + (ends[place] - to) * token_s[b] if b > 0 else never
        due[r] = best
        # Replicas are doubles here, since of those a compiler selects without a jump, which half of the time would be the wrong one.
        winner = float(r)
        node = (leaves + r) & _PLACE
        while node > 1:
            other = tree[node ^ 1]
            its = due[int(other) & _PLACE]
            wins = its < best
            winner = other if wins else winner
            best = its if wins else best
            node >>= 1
            tree[node] = winner
        top = int(winner)
        top_due = best

    counts[0] = arrived
    counts[1] = head
    counts[2] = retried
    counts[3] = retries
    counts[4] = ended_count
    counts[5] = shown_count
    counts[6] = low
    counts[7] = peak
    counts[8] = running
    sums[0] = worked
    sums[1] = taken
    sums[2] = busy
    sums[3] = output
    sums[4] = prefilled
    sums[5] = held
