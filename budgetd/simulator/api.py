"""The simulated Admin API as a function: (request, now) -> response. It judges clients; it shares no code with ours."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime

from budgetd.simulator import cost_report, directory
from budgetd.simulator.analytics import CostAnalytics
from budgetd.simulator.organisation import World
from budgetd.simulator.reports import BucketCache
from budgetd.simulator.usage_report import UsageReport
from budgetd.simulator.wire import Request, RequestError, Response, error, http_date

ADMIN_KEY = "sk-ant-admin01-simulated-not-a-secret"
VERSIONS = ("2023-06-01", "2026-10-21")

_COST_REPORT = "/v1/organizations/cost_report"
_WORKSPACES = "/v1/organizations/workspaces"
_ME = "/v1/organizations/me"
_ANALYTICS = "/v1/organizations/analytics/cost"
_USAGE = "/v1/organizations/usage_report/messages"

Respond = Callable[[Request, datetime], Response]


class AdminApi:
    """The Admin API of one organisation. `key` is the only one that it takes."""

    def __init__(self, world: World, key: str = ADMIN_KEY) -> None:
        self.world = world
        self._key = key
        cache = BucketCache()
        usage = UsageReport(world, cache)
        self._endpoints: dict[str, Respond] = {
            _COST_REPORT: lambda request, now: cost_report.respond(world, request, now, cache),
            _WORKSPACES: lambda request, now: directory.workspaces(world, request, now),
            _ME: lambda request, _: directory.organisation(world, request),
            _USAGE: usage.respond,
            _ANALYTICS: CostAnalytics(world).respond,
        }

    def respond(self, request: Request, now: datetime) -> Response:
        """The answer at that time; the same arguments give the same bytes."""
        request_id = self._request_id(request, now)
        try:
            response = self._answer(request, now)
        except RequestError as refusal:
            response = error(refusal.status, refusal.message, request_id, refusal.headers)
        return response.with_headers(request_id=request_id, date=http_date(now))

    def _answer(self, request: Request, now: datetime) -> Response:
        self._authenticate(request)
        respond = self._endpoints.get(request.path)
        if respond is None:
            raise RequestError(404, f"Not found: {request.path}")
        if request.method != "GET":
            raise RequestError(405, "Method Not Allowed", {"allow": "GET"})
        _check_version(request)
        return respond(request, now)

    def _authenticate(self, request: Request) -> None:
        bearer = request.headers.get("authorization", "")
        given = request.headers.get("x-api-key", "") or bearer.removeprefix("Bearer ")
        if not given:
            raise RequestError(401, "x-api-key header is required")
        if not hmac.compare_digest(given.encode(), self._key.encode()):
            raise RequestError(401, "invalid x-api-key")

    def _request_id(self, request: Request, now: datetime) -> str:
        text = repr((self.world.seed, request.method, request.path, request.query, now.isoformat()))
        return f"req_{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"


def _check_version(request: Request) -> None:
    version = request.headers.get("anthropic-version", "")
    if not version:
        raise RequestError(400, "anthropic-version: header is required")
    if version not in VERSIONS:
        raise RequestError(400, f"anthropic-version: {version!r} is not a valid version")
