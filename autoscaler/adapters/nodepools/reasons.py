"""The one list of reasons of a node pool's condition Ready, and how a refusal outside becomes one of them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from autoscaler.errors import AutoscalerError, RequestFailed


class PoolReason(StrEnum):
    """Why a pool's condition Ready is as it is."""

    Reconciled = "Reconciled"
    """The system was asked for what the plan needs, and the nodes are there as far as we can tell."""
    Scaling = "Scaling"
    """Nodes are on their way or leaving, or an operation is under way."""
    Limited = "Limited"
    """Asked for another number than the plan's: a bound of the system, the step limit, the cool-down or a pause."""
    DryRun = "DryRun"
    """Shown only."""

    OwnedElsewhere = "OwnedElsewhere"
    """Somebody else owns the number; nothing is written without takeOwnership."""
    NoCapacity = "NoCapacity"
    """The provider has no such machines now."""
    QuotaExceeded = "QuotaExceeded"
    """A quota of the account, project, subscription or namespace is used up."""
    Throttled = "Throttled"
    """Too many requests; asked again after a pause."""
    Conflict = "Conflict"
    """Somebody changed it meanwhile, or another operation is under way; tried again with the next tick."""
    CredentialsRefused = "CredentialsRefused"
    """No credential, or one that is not taken (any more)."""
    NotPermitted = "NotPermitted"
    """A right is missing."""
    NotFound = "NotFound"
    """There is no such node pool, cluster or object."""
    NotUsable = "NotUsable"
    """It is there, but can't be sized so; the message says why and what to write."""
    Unreachable = "Unreachable"
    """No answer in time."""
    Unavailable = "Unavailable"
    """The system failed to answer (5xx)."""
    UnexpectedAnswer = "UnexpectedAnswer"
    """An answer that can't be read."""
    Rejected = "Rejected"
    """The order was refused for another reason."""
    Failed = "Failed"
    """The order was taken, and its operation failed."""


class PoolProblem(AutoscalerError):  # noqa: N818 - says what is, as its siblings do
    """Why a pool can't be read or sized now. retry_after_s: what the system asked for, where it did."""

    def __init__(self, reason: PoolReason, words: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(words)
        self.reason = reason
        self.words = words
        self.retry_after_s = retry_after_s


# Words of the providers: EC2 and Auto Scaling error codes (docs.aws.amazon.com/AWSEC2, "Error codes"), Compute Engine's
# (cloud.google.com/compute, "Resource availability errors"), Azure Resource Manager's (learn.microsoft.com, "Resolve errors for ...").
_NO_CAPACITY: Final = re.compile(
    r"insufficient\s*(instance|host|reserved)?\s*capacity|out of capacity|no capacity|POOL_EXHAUSTED|stock\s?out|AllocationFailed|"
    r"SkuNotAvailable|OverconstrainedAllocation|AsgInstanceLaunchFailures|does not have enough resources|UnfulfillableCapacity",
    re.I,
)
_QUOTA: Final = re.compile(r"quota|LimitExceeded|(vcpu|instance|node)s?\s*limit|limit (has been )?exceeded", re.I)
_THROTTLED: Final = re.compile(r"throttl|too\s?many\s?requests|rate\s?exceeded|RateLimit|RESOURCE_EXHAUSTED|SlowDown", re.I)
_EXPIRED: Final = re.compile(
    r"Expired|InvalidClientTokenId|UnrecognizedClient|InvalidSignature|SignatureDoesNotMatch|InvalidAuthenticationToken|"
    r"InvalidIdentityToken|IncompleteSignature|MissingAuthenticationToken",
    re.I,
)
_BUSY: Final = re.compile(
    r"ResourceInUse|OperationNotAllowed|AnotherOperation|FAILED_PRECONDITION|PreconditionFailed|ABORTED", re.I
)


def shortage(text: str) -> PoolReason | None:
    """NoCapacity or QuotaExceeded where the words tell of one."""
    if _NO_CAPACITY.search(text):
        return PoolReason.NoCapacity
    return PoolReason.QuotaExceeded if _QUOTA.search(text) else None


def reason_in(words: str, otherwise: PoolReason = PoolReason.Failed) -> PoolReason | None:
    """Of what a system says is wrong: a shortage where the words tell of one, else `otherwise`; None where it says nothing."""
    return (shortage(words) or otherwise) if words else None


def problem_of(fault: RequestFailed) -> PoolProblem:
    """What a refused or unanswered request means for its pool."""
    return PoolProblem(_reason(fault), str(fault), retry_after_s=fault.retry_after_s)


def _reason(fault: RequestFailed) -> PoolReason:
    if fault.status == 0:
        unread = fault.reason in ("Malformed", "TooLarge")
        return PoolReason.UnexpectedAnswer if unread else PoolReason.Unreachable
    # An API's own rate limit is called a quota as well; only its status or word tells the two apart.
    if fault.status == 429 or _THROTTLED.search(fault.reason):
        return PoolReason.Throttled
    if fault.status == 401 or _EXPIRED.search(fault.reason):
        return PoolReason.CredentialsRefused
    if fault.status < 500 and (short := shortage(f"{fault.reason} {fault.message}")) is not None:
        return short
    if fault.status in (409, 412) or _BUSY.search(fault.reason):
        return PoolReason.Conflict
    if fault.status == 403:
        return PoolReason.NotPermitted
    if fault.status == 404:
        return PoolReason.NotFound
    return PoolReason.Unavailable if fault.status >= 500 else PoolReason.Rejected
