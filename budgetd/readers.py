"""Which readers BUDGETD_SOURCE asks for, and how each is put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from budgetd.evaluation import Judge
from budgetd.http import Getter
from budgetd.pricing import RateTable
from budgetd.reader import Directory, Line, OptionalReader, Reader, UsageReader
from budgetd.sources.account import AdminAccount
from budgetd.sources.analytics import BETA as ANALYTICS_BETA
from budgetd.sources.analytics import Analytics
from budgetd.sources.cost_report import CostReport
from budgetd.sources.usage_report import UsageReport
from budgetd.store import Memory


class Connection(Getter, Line, Protocol):
    """One way to the API, for one reader in one thread."""


def readers(
    source: str, betas: Sequence[str], connect: Callable[..., Connection], known: Memory, judge: Judge
) -> tuple[Reader, ...]:
    """The readers that BUDGETD_SOURCE asks for, the bill's first. `connect` is given the betas that one needs besides.

    Each has a connection of its own, as each reads in a thread of its own.
    """
    directory = Directory()
    if source == "analytics":
        line = connect(ANALYTICS_BETA)
        account = AdminAccount(line)
        return (Reader(_analytics(line, account, known, judge, history=True), account, known.organisation, line),)
    bill = _bill_reader(connect(), known, directory)
    if source == "cost_report":
        return (bill,)
    priced = _priced_hours_reader(connect(ANALYTICS_BETA), known, judge, directory)
    return bill, priced, _usage_reader(connect(), betas, known, judge, directory, lambda: priced.asked)


def _bill_reader(line: Connection, known: Memory, directory: Directory) -> Reader:
    report = CostReport(line, through=known.throughs.get(CostReport.NAME))
    return Reader(report, AdminAccount(line), known.organisation, line, directory)


def _priced_hours_reader(line: Connection, known: Memory, judge: Judge, directory: Directory) -> OptionalReader:
    account = AdminAccount(line)
    hours = _analytics(line, account, known, judge, history=False)
    return OptionalReader(hours, account, known.organisation, line, directory)


def _analytics(line: Connection, account: AdminAccount, known: Memory, judge: Judge, *, history: bool) -> Analytics:
    billed = known.throughs.get(CostReport.NAME)
    return Analytics(
        line,
        lambda: account.default_workspace,
        unlisted=account.unlisted,
        billed_through=lambda: judge.billed_through or billed,
        history=history,
    )


def _usage_reader(
    line: Connection,
    betas: Sequence[str],
    known: Memory,
    judge: Judge,
    directory: Directory,
    hours_asked: Callable[[], bool],
) -> Reader:
    # Before anything was judged prices are what the state has: the list's would raise false alarms.
    rates, billed = RateTable.from_rows(known.rates), known.throughs.get(CostReport.NAME)
    return UsageReader(
        UsageReport(
            line,
            lambda: judge.rates or rates,
            lambda: judge.billed_through or billed,
            betas=betas,
            skew=lambda: line.last_skew,
        ),
        AdminAccount(line),
        known.organisation,
        line,
        directory,
        lambda: judge.billed_through,
        lambda: bool((judge.rates or rates).learned),
        hours_asked,
    )
