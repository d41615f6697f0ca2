"""``autoscaler explain``: why this many replicas, from record files or from a running controller."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from autoscaler.cli.output import console, json_option, print_json
from autoscaler.errors import OutsideError, UsageError

_DEFAULT_URL: Final = "http://127.0.0.1:8080"
_TIMEOUT_S: Final = 10.0
_MOST_LISTED: Final = 20


@click.command(
    "explain",
    epilog="""\b
Example:
  replay run -t replay/standard/traces/surge.csv -o build/replay && autoscaler explain default/standard --records build/replay""",
)
@click.argument("service", metavar="NAMESPACE/NAME")
@click.option("--at", metavar="TIME", help="The decision in force then: RFC 3339 or Unix seconds. The latest one where left out.")
@click.option(
    "--records", type=click.Path(path_type=Path), metavar="DIR", help="Read records of `run --records` or `replay run -o`."
)
@click.option("--url", metavar="URL", help=f"Ask a running controller or demo [default: {_DEFAULT_URL}].")
@json_option
def command(service: str, at: str | None, records: Path | None, url: str | None, as_json: bool) -> None:
    """Why NAMESPACE/NAME has this many replicas: signals, the policy's wish, each limit, the plan and what was done."""
    if records is not None and url is not None:
        raise UsageError("--records and --url: only one of them is allowed")
    namespace, slash, name = service.partition("/")
    if not slash or not namespace or not name or "/" in name:
        raise UsageError(f"'{service}' is not allowed; write NAMESPACE/NAME, such as models/llama")
    at_s = None if at is None else _unix_s(at)
    document = _from_records(records, service, at_s) if records is not None else _from_url(url or _DEFAULT_URL, service, at_s)
    if as_json:
        print_json(document)
    else:
        _print(document)


def _unix_s(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise UsageError(f"--at {text}: write RFC 3339 such as 2026-01-31T06:00:00Z, or Unix seconds") from None
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds):
        raise UsageError(f"--at {text}: write RFC 3339 such as 2026-01-31T06:00:00Z, or Unix seconds")
    return seconds


def _from_records(place: Path, service: str, at_s: float | None) -> dict[str, Any]:
    from autoscaler.explanation import explain_record
    from autoscaler.record_files import key_of, latest, moment

    found = latest(place, math.inf if at_s is None else at_s)
    row = found.row(service)
    if row is None:
        there = sorted(key_of(known) for known in found.fleet["services"])
        raise UsageError(f"{service} is not in the records at {moment(found.tick['at_s'])}; {_listed(there, len(there))}")
    return explain_record(found.fleet, found.tick, row)


def _from_url(url: str, service: str, at_s: float | None) -> dict[str, Any]:
    from urllib.parse import quote, urlsplit

    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"--url {url}: write http://HOST:PORT")
    base = url.rstrip("/")
    query = "" if at_s is None else f"?at={at_s!r}"
    status, document = _get(f"{base}/api/services/{quote(service)}/explain{query}")
    if status == 200:
        return document
    fault = document.get("error")
    words = str(fault.get("message", fault) if isinstance(fault, dict) else fault or f"the controller answered {status}")
    if status != 404:
        raise OutsideError(f"{base}: {words}")
    if "no service" not in words:
        raise UsageError(words)
    status, listed = _get(f"{base}/api/services?limit={_MOST_LISTED + 1}")
    there = [str(entry.get("key", "")) for entry in listed.get("services", ())] if status == 200 else []
    raise UsageError(f"{service} is not known to {base}; {_listed(there, listed.get('total', len(there)))}")


def _get(url: str) -> tuple[int, dict[str, Any]]:
    """(status, JSON) of an answer. Raises OutsideError where nothing that speaks our API answers."""
    import urllib.error
    import urllib.request

    import orjson

    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as fault:
        status, body = fault.code, fault.read()
    except (OSError, ValueError) as fault:
        raise OutsideError(
            f"{url}: {getattr(fault, 'reason', fault)}; is the controller running, or did you mean --records DIR?"
        ) from None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise OutsideError(f"{url}: the answer ({status}) is none of an autoscaler")
    return status, document


def _listed(there: list[str], total: int) -> str:
    if not there:
        return "there is no service"
    more = total - len(there[:_MOST_LISTED])
    return f"there are {', '.join(there[:_MOST_LISTED])}" + (f" and {more} more" if more > 0 else "")


def _sentences(words: Iterable[str]) -> str:
    return "\n  ".join(f"{one[:1].upper()}{one[1:]}." for one in words)


def _print(document: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    from autoscaler.record_files import moment

    out = console()
    leading = "leading" if document["leading"] else "standby"
    out.print(f"[bold]{escape(document['key'])}[/] → {escape(document['target'])}, mode {document['mode']}")
    out.print(f"[dim]tick {document['tick']} at {moment(document['at_s'])}, {leading}[/]")
    out.print(escape(document["sentence"]), soft_wrap=True)
    out.print("\n[bold]Signals[/]")
    table = Table(box=None, pad_edge=False, show_header=False)
    for signal in document["signals"]:
        number = "–" if signal["value"] is None else f"{signal['value']:.4g} {signal['unit']}"
        age = "" if signal["age_s"] is None else f"{signal['age_s']:.0f} s old"
        words = ", ".join(filter(None, (signal["state"], age if signal["state"] != "unknown" else "", signal["why"])))
        table.add_row(*map(escape, (signal["name"], number, words)))
    out.print(Padding(table, (0, 0, 0, 2), expand=False))
    if (capacity := document.get("capacity")) is not None:  # an older controller tells none
        out.print(f"\n[bold]Capacity[/]\n  {escape(capacity['words'])}")
    for told in document.get("forecasts", ()):
        out.print(f"\n[bold]Forecast of {escape(told['policy'])}[/]\n  {escape(_sentences(told['words']))}", soft_wrap=True)
    if (lead := document.get("lead_times")) is not None:
        out.print(f"\n[bold]Lead times[/]\n  {escape(_sentences(lead['words']))}", soft_wrap=True)
    counts = ", ".join(f"{name} {document[name]}" for name in ("current", "ready", "starting", "draining"))
    if update := document.get("update"):
        counts += f"; {update}"
    out.print(f"\n[bold]Replicas[/]\n  {escape(counts)}\n\n[bold]Steps[/]")
    steps = Table(box=None, pad_edge=False, show_header=False)
    for step in document["steps"]:
        if step["step"] == "write":
            steps.add_row("desired", "", str(document["desired"]), "after the limits of the service")
            room = f", with room for {document['headroom']} more" if document["headroom"] else ""
            steps.add_row("planned", "", str(document["planned"]), f"after sharing the cluster's budgets{room}")
        before = "" if step["before"] is None else str(step["before"])
        after = "can't tell" if step["after"] is None else str(step["after"])
        steps.add_row(step["step"], escape(step["name"]), f"{before} → {after}" if before else after, escape(step["words"]))
    out.print(Padding(steps, (0, 0, 0, 2), expand=False))
    for pool, words in document.get("node_words", {}).items():
        out.print(f"\n[bold]Nodes of {escape(pool)}[/]\n  {escape(words)}", soft_wrap=True)
    for problem in document["problems"]:
        out.print(f"[dim]{escape(problem)}[/]", soft_wrap=True)
