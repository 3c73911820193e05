"""What /livez and /readyz say when something is not as it should be, and times in their two forms."""

from __future__ import annotations

import pytest

from jindou.control.api.wire.health import Health
from jindou.objects import times


def test_who_is_shutting_down_lives_and_is_not_ready() -> None:
    health = Health()
    health.ready = False
    alive, ready = health.answer("/livez", {}), health.answer("/readyz", {})
    assert alive is not None
    assert ready is not None
    assert (alive.status, alive.body) == (200, b"ok")
    assert ready.status == 500
    assert ready.body == (
        b"[+]ping ok\n[+]etcd ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n"
    )
    one = health.answer("/readyz/shutdown", {})
    assert one is not None
    assert one.status == 500
    without = health.answer("/readyz", {"exclude": ["shutdown"]})
    assert without is not None
    assert (without.status, without.body) == (200, b"ok")


def test_a_store_that_failed_is_known_everywhere() -> None:
    health = Health()
    health.stored = False
    for path in ("/livez", "/readyz", "/healthz", "/livez/etcd"):
        answer = health.answer(path, {})
        assert answer is not None
        assert answer.status == 500
    assert health.answer("/elsewhere", {}) is None


@pytest.mark.parametrize(
    ("text", "micro", "told"),
    [
        ("2020-02-29T23:59:59Z", False, "2020-02-29T23:59:59Z"),
        ("2020-02-29T23:59:59.999Z", False, "2020-02-29T23:59:59Z"),
        ("2020-01-01T00:30:00+01:00", False, "2019-12-31T23:30:00Z"),
        ("0999-01-01T00:00:00+00:00", False, "0999-01-01T00:00:00Z"),
        ("2020-01-01T00:00:00.000001-00:30", True, "2020-01-01T00:30:00.000001Z"),
    ],
)
def test_times_are_told_in_utc(text: str, micro: bool, told: str) -> None:
    assert times.fault(text, micro) == ""
    assert times.canonical(text, micro) == told
    assert times.is_canonical(told, micro)
    assert times.is_canonical(text, micro) == (text == told)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2020-01-01", 'cannot parse "" as "T"'),
        ("2020-01-01T00:00:00", 'cannot parse "" as "Z07:00"'),
        ("2019-02-29T00:00:00Z", "day out of range"),
        ("2020-00-01T00:00:00Z", "month out of range"),
        ("2020-01-01T24:00:00Z", "hour out of range"),
        ("2020-01-01T00:00:00Zulu", 'extra text: "ulu"'),
    ],
)
def test_what_is_no_time(text: str, says: str) -> None:
    assert times.fault(text, False).endswith(says)
    assert not times.is_canonical(text, False)


def test_a_time_whose_zone_leads_out_of_the_years_stays_as_it_is() -> None:
    text = "0001-01-01T00:00:00+05:00"
    assert times.fault(text, micro=False) == ""
    assert times.canonical(text, micro=False) == text
