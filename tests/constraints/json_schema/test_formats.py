"""The enforced formats, compared with Python's parsers."""

import datetime as dt
import ipaddress
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.constraints.json_schema.formats import FORMATS
from antiphon.constraints.json_schema.pattern_queries import matches


def has_format(name: str, text: str) -> bool:
    return matches(FORMATS[name].pattern, text)


def reads(reader: Callable[[str], object], text: str) -> bool:
    try:
        reader(text)
    except ValueError:
        return False
    return True


years = st.one_of(st.sampled_from((0, 4, 100, 400, 1900, 2000, 2023, 2024, 9999)), st.integers(0, 9999))
groups = st.lists(st.sampled_from(("0", "ab", "1F4d", "", "")), max_size=8).map(":".join)


@settings(deadline=None)
@given(years, st.integers(0, 13), st.integers(0, 32))
def test_date_format_admits_exactly_the_calendar_dates(year: int, month: int, day: int) -> None:
    text = f"{year:04}-{month:02}-{day:02}"
    assert reads(dt.date.fromisoformat, text) == has_format("date", text)


@settings(deadline=None)
@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_date_time_format_admits_every_moment(moment: dt.datetime) -> None:
    text = moment.isoformat()
    assert has_format("date-time", text)
    assert has_format("time", text.partition("T")[2])


@settings(deadline=None)
@given(
    st.tuples(st.sampled_from(("", "::")), groups, st.sampled_from(("", "::", ":1.2.3.4", "::1.2.3.4"))).map("".join)
)
def test_ipv6_format_admits_exactly_the_addresses_that_python_reads(text: str) -> None:
    assert reads(ipaddress.IPv6Address, text) == has_format("ipv6", text)


@settings(deadline=None)
@given(st.uuids(), st.ip_addresses(v=4))
def test_uuid_and_ipv4_formats_admit_all_values(identifier: uuid.UUID, address: ipaddress.IPv4Address) -> None:
    assert has_format("uuid", str(identifier))
    assert has_format("ipv4", str(address))


@pytest.mark.parametrize(
    ("name", "text", "holds"),
    [
        ("time", "24:00:00Z", False),
        ("time", "23:59:60Z", False),
        ("date-time", "2024-01-01 00:00:00Z", False),
        ("duration", "P1Y2M3DT4H5M6S", True),
        ("duration", "P2W", True),
        ("duration", "P", False),
        ("duration", "PT", False),
        ("email", "a.b+c@example.org", True),
        ("email", "a..b@example.org", False),
        ("hostname", "a-b.example", True),
        ("hostname", "-a.example", False),
        ("hostname", f"{'a' * 64}.example", False),
        ("ipv4", "256.1.1.1", False),
        ("ipv4", "01.1.1.1", False),
        ("uuid", "0" * 32, False),
        ("uri", "https://mail.example.org:80/a/b?c=d#e", True),
        ("uri", "urn:isbn:123", True),
        ("uri", "http://[::1]/", True),
        ("uri", "mailto:a@b.c", True),
        ("uri", "//example.org", False),
        ("uri", "http://a b", False),
    ],
)
def test_format_admits_only_its_form(name: str, text: str, holds: bool) -> None:  # noqa: FBT001
    assert holds == has_format(name, text)
