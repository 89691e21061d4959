"""The table of clients that send wrong keys: it stays small, and so does what it writes."""

import asyncio
import logging

import pytest

from modelyard.api import wrong_keys
from modelyard.api.wrong_keys import (
    BURST,
    MAX_LOGGED_NETWORKS,
    MAX_NETWORKS,
    SECONDS_PER_ATTEMPT,
    WrongKeys,
    network_of,
)
from modelyard.core.errors import TooManyAttempts, Unauthorized


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no\naddress", "an unknown address"),
        ("", "an unknown address"),
        (None, "an unknown address"),
    ],
)
def test_who_counts_as_one_client(address: str | None, network: str) -> None:
    assert network_of(address) == network


async def _attempts(clock: Clock) -> None:
    keys = WrongKeys(clock)
    assert [type(keys.note("192.0.2.1")) for _ in range(BURST + 1)] == [Unauthorized] * BURST + [TooManyAttempts]
    refused = keys.note("192.0.2.1")
    assert refused.extra["retry_after_seconds"] == SECONDS_PER_ATTEMPT
    clock.now += refused.extra["retry_after_seconds"]
    assert type(keys.note("192.0.2.1")) is Unauthorized
    assert type(keys.note("192.0.2.1")) is TooManyAttempts
    clock.now += 3600
    assert [type(keys.note("192.0.2.1")) for _ in range(BURST + 1)] == [Unauthorized] * BURST + [TooManyAttempts]


def test_the_allowance_grows_back_as_announced() -> None:
    asyncio.run(_attempts(Clock()))


def test_many_addresses_take_bounded_memory_and_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wrong_keys, "LOG_SECONDS", 0.5)

    async def attack() -> None:
        keys = WrongKeys()
        for number in range(3 * MAX_NETWORKS):
            keys.note(f"2001:db8:{number // 65536:x}:{number % 65536:x}::1")
        assert len(keys._allowances) == MAX_NETWORKS
        for _ in range(400):
            keys.note("2001:db8:0:1::2")
        await asyncio.sleep(1)
        assert keys._unlogged == {}

    with caplog.at_level(logging.WARNING):
        asyncio.run(attack())
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == MAX_LOGGED_NETWORKS + 2
    assert any(line.startswith("400 more wrong keys came from 2001:db8:0:1::/64") for line in lines)
    assert lines[-1].startswith(f"{3 * MAX_NETWORKS - MAX_LOGGED_NETWORKS} more wrong keys came from other addresses")
