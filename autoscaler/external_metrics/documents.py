"""Bodies that are made once and never change while the process runs, with an ETag, so that who has one needn't get it again."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import orjson
from aiohttp import web

from autoscaler.external_metrics.answers import JSON


class Document:
    """One JSON body. The same document gives the same bytes, and so the same tag, on every replica and after every restart."""

    __slots__ = ("body", "content_type", "tag")

    def __init__(self, document: dict[str, Any], content_type: str = JSON) -> None:
        self.body: Final = orjson.dumps(document)
        self.content_type: Final = content_type
        # As Kubernetes makes them (kube-openapi, pkg/handler3/handler.go: computeETag), since the `hash` of an OpenAPI URL is its tag.
        self.tag: Final = hashlib.sha512(self.body).hexdigest().upper()

    def answer(self, if_none_match: str | None = None, headers: dict[str, str] | None = None) -> web.Response:
        """200 with the body, or 304 where the client has it already. headers: beyond the usual ones, or other values of them."""
        told = {"ETag": f'"{self.tag}"', "Vary": "Accept", "Cache-Control": "no-cache, private", **(headers or {})}
        if if_none_match is not None and self._is_among(if_none_match):
            return web.Response(status=304, headers=told)
        return web.Response(body=self.body, headers={**told, "Content-Type": self.content_type})

    def _is_among(self, if_none_match: str) -> bool:
        """Of a list of tags or ``*``, weakly compared (RFC 9110, 13.1.2)."""
        known = {one.strip().removeprefix("W/").strip('"') for one in if_none_match.split(",")}
        return self.tag in known or "*" in known
