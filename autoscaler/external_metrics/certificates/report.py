"""What a keeper says of how it fares: in the log once, not with every try of a long outage; and in figures."""

from __future__ import annotations

import logging
from typing import Final

from autoscaler.external_metrics.certificates.authority import Lifetimes, Pair
from autoscaler.external_metrics.certificates.figures import Figures
from autoscaler.external_metrics.certificates.reading import due_s, end_s

log = logging.getLogger(__name__)

_SPANS: Final = (
    (60.0, " within a minute"),
    (3600.0, " within an hour"),
    (6 * 3600.0, " within 6 hours"),
    (86400.0, " within a day"),
    (7 * 86400.0, " within a week"),
)


class Report:
    """in_hand: what is served, None before the first. now_s: Unix seconds, by the API server's clock."""

    def __init__(self, figures: Figures, lifetimes: Lifetimes) -> None:
        self._figures = figures
        self._lifetimes = lifetimes
        self._said = ""

    def failed(self, reason: str, words: str, in_hand: Pair | None, now_s: float, failures: int = 1) -> None:
        """A fault. failures: how many in a row."""
        self._figures.fail(reason, words, now_s)
        if reason == "conflict" and failures < 3:
            return  # another replica was faster, as it should be
        self._say(words, in_hand, now_s)

    def well(self, hindered: str, in_hand: Pair | None, now_s: float, *, contested: bool) -> None:
        """Nothing to do. hindered: what stands in the way of more, in words. contested: whether what is written was undone again and again
        until a moment ago."""
        if hindered:
            if self._figures.fault != "hindered" or self._figures.last_fault != hindered:
                self._figures.fail("hindered", hindered, now_s)
            self._say(hindered, in_hand, now_s)
            return
        if self._figures.fault == "contested" and contested:
            return  # for the moment it is as we want it; the next moment it may be undone again
        if self._said:
            log.info("certificates: all is well again")
        self._figures.fault = self._said = ""

    def _say(self, words: str, in_hand: Pair | None, now_s: float) -> None:
        """Again while the certificate's end comes near."""
        text = words + self._left(in_hand, now_s)
        if text != self._said:
            self._said = text
            log.warning("certificates: %s", text)

    def _left(self, in_hand: Pair | None, now_s: float) -> str:
        if in_hand is None:
            return "; there is none to serve with"
        if now_s < due_s(in_hand.leaf, self._lifetimes):
            return ""
        left_s = end_s(in_hand.leaf) - now_s
        if left_s <= 0:
            return "; the serving certificate HAS EXPIRED and is served all the same: clients that verify it refuse us"
        within = next((words for limit_s, words in _SPANS if left_s <= limit_s), "")
        return f"; the serving certificate should have been renewed and expires{within}"
