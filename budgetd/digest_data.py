"""A digest as machines read it: decimal strings in dollars, days and instants in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from budgetd import money
from budgetd.escaping import name
from budgetd.period import Period
from budgetd.summary import Digest, Move, Spent, Standing, Story

Json = dict[str, Any]


def digest_data(digest: Digest) -> Json:
    """The digest as it stands in the webhook's `data.digest`."""
    return {
        "id": digest.id,
        "every": digest.every,
        "due": digest.due,
        "basis": digest.basis or None,
        "spent": _spent(digest.spent),
        "before": _spent(digest.before),
        "days": [
            {"day": day.isoformat(), "amount": money.cents_text(amount) if amount is not None else None}
            for day, amount in digest.days
        ],
        "movers": [
            {"dimension": each.dimension, "up": [*map(_move, each.up)], "down": [*map(_move, each.down)]}
            for each in digest.movers
        ],
        "limits": [*map(_standing, digest.standings)],
        "limits_omitted": digest.more_standings,
        "alerts": [*map(_story, digest.stories)],
        "alerts_omitted": digest.more_stories,
        "channels": [
            {
                "name": name(post.channel),
                "delivered": post.delivered,
                "failed_attempts": post.failed,
                "given_up": post.given_up,
                "pending": post.pending,
                "trouble": name(post.trouble, 500) if post.trouble else None,
            }
            for post in digest.posts
        ],
    }


def _spent(spent: Spent) -> Json:
    return {
        "period": _period(spent.period),
        "amount": money.cents_text(spent.amount),
        "complete": not spent.missing,
        "missing_days": [day.isoformat() for day in spent.missing],
    }


def _period(period: Period) -> Json:
    return {"start": _time(period.start), "end": _time(period.end)}


def _move(move: Move) -> Json:
    return {
        "name": name(move.name, 200),
        "amount": money.cents_text(move.amount),
        "before": money.cents_text(move.before),
    }


def _standing(standing: Standing) -> Json:
    return {
        "rule": name(standing.rule, 200),
        "subject": name(standing.subject, 200) if standing.subject else None,
        "period": _period(standing.period),
        "amount": money.cents_text(standing.amount),
        "limit": money.cents_text(standing.limit),
        "complete": standing.complete,
        "forecast": money.cents_text(standing.forecast) if standing.forecast is not None else None,
    }


def _story(story: Story) -> Json:
    return {
        "incident": story.incident,
        "title": story.title,
        "severity": story.severity,
        "at": _time(story.at),
        "ended_at": _time(story.ended) if story.ended is not None else None,
        "end": story.end or None,
    }


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
