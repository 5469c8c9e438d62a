"""Periods: a day, a month or a range of dates, as text that sorts and that everybody writes alike."""

import calendar
import re
from datetime import date, timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_FORMS = {"day": re.compile(_DAY), "month": re.compile(r"[0-9]{4}-[0-9]{2}"), "range": re.compile(f"{_DAY}/{_DAY}")}
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def kind_of(period: str) -> str:
    """``day``, ``month`` or ``range``.

    >>> kind_of("2026-10"), kind_of("2026-10-31"), kind_of("2017-05-31/2017-06-06")
    ('month', 'day', 'range')
    """
    for kind, form in _FORMS.items():
        if form.fullmatch(period):
            return kind
    raise ValueError("expected a period like 2026-10, 2026-10-31 or 2017-05-31/2017-06-06")


def days(period: str) -> tuple[date, date]:
    """First and last day of a period, both included.

    >>> days("2026-02")
    (datetime.date(2026, 2, 1), datetime.date(2026, 2, 28))

    Raises:
        ValueError: not a period, no such date, or a range that ends before it begins.
    """
    match kind_of(period):
        case "day":
            first = last = date.fromisoformat(period)
        case "month":
            year, month = (int(part) for part in period.split("-"))
            if not 1 <= month <= 12 or year < 1:
                raise ValueError("expected a month from 01 to 12")
            first, last = date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])
        case _:
            first, last = (date.fromisoformat(part) for part in period.split("/"))
    if last < first:
        raise ValueError("the period ends before it begins")
    return first, last


def report_of(report: str, day: str) -> str | None:
    """The report period that a day belongs to, where reports are by ``month`` or over one range; None outside it.

    >>> report_of("month", "2026-10-31"), report_of("2026-10-01/2026-10-10", "2026-10-31")
    ('2026-10', None)
    """
    if report == "month":
        return day[:7]
    first, last = days(report)
    return report if first <= date.fromisoformat(day) <= last else None


def each_day(period: str) -> list[str]:
    """Every day of a period, in order."""
    first, last = days(period)
    return [(first + timedelta(n)).isoformat() for n in range((last - first).days + 1)]


def seconds(duration: str) -> int:
    """A duration in seconds.

    >>> seconds("15m"), seconds("40d")
    (900, 3456000)
    """
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", duration)
    if not found:
        raise ValueError("expected a duration like 30s, 15m, 12h or 40d")
    return int(found[1]) * _UNITS_S[found[2]]


def lasting(duration: str) -> timedelta:
    """A duration as a timedelta."""
    return timedelta(seconds=seconds(duration))


def _checked_period(period: str) -> str:
    days(period)
    return period


def _checked_report(report: str) -> str:
    if report != "month" and kind_of(report) != "range":
        raise ValueError("expected month, or a range of days like 2026-10-01/2026-10-10")
    if report != "month":
        days(report)
    return report


def _checked_duration(duration: str) -> str:
    seconds(duration)
    return duration


Period = Annotated[str, Field(max_length=21), AfterValidator(_checked_period)]
Report = Annotated[str, Field(max_length=21), AfterValidator(_checked_report)]
Duration = Annotated[str, Field(max_length=8), AfterValidator(_checked_duration)]
