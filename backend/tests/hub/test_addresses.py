"""A Hub that leads the server to addresses it has no business with, through redirects and through names.

All servers are on loopback. For these tests 127.0.0.2 counts as public and 127.0.0.3 as private; names resolve as the
test says.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import HubMisbehaved, HubUnreachable
from modelyard.hub import addresses
from modelyard.hub.addresses import Reach, allowed_addresses, named_reach, reach_of
from modelyard.hub.client import HubClient
from modelyard.hub.download.transport import Transport
from modelyard.hub.search import HubQuery
from modelyard.services.system_service import hub_answer

from .test_client import COMMIT, GOOD, NAME, Answer, Script, as_json, scripted_hub

PUBLIC, PRIVATE, HERE = "127.0.0.2", "127.0.0.3", "127.0.0.1"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names resolve to; a list is used up to its last entry, as the answers of a name server that rebinds."""
    known: dict[str, list[str]] = {}
    real_resolve, real_reach = addresses.resolve, addresses._reach
    pretended = {IPv4Address(PUBLIC): Reach.PUBLIC, IPv4Address(PRIVATE): Reach.PRIVATE}

    def resolve(host: str, port: int) -> list[str]:
        answers = known.get(host)
        if answers is None:
            return real_resolve(host, port)
        return (answers.pop(0) if len(answers) > 1 else answers[0]).split(",")

    monkeypatch.setattr(addresses, "resolve", resolve)
    monkeypatch.setattr(
        addresses, "_reach", lambda address: pretended[address] if address in pretended else real_reach(address)
    )
    return known


@pytest.fixture
def victim() -> Iterator[Script]:
    """A service of this machine that answers whatever it is asked."""
    with scripted_hub(lambda _path: as_json(GOOD)) as script:
        yield script


def port_of(script: Script) -> str:
    return script.endpoint.rpartition(":")[2]


@pytest.mark.parametrize("hub_host", [PUBLIC, PRIVATE])
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "017700000001", "[::ffff:127.0.0.1]", "0.0.0.0", "inside.test"],
)
def test_no_redirect_to_this_machine(names: dict[str, list[str]], victim: Script, hub_host: str, host: str) -> None:
    # What getaddrinfo makes of these names; tests ask it for none.
    names |= {name: [HERE] for name in ("inside.test", "localhost", "2130706433", "0x7f.1", "017700000001")}
    with scripted_hub(
        lambda path: Answer(302, headers={"Location": f"http://{host}:{port_of(victim)}{path}"}), hub_host
    ) as hub:
        client = HubClient(hub.endpoint, False)
        for ask in (
            lambda: client.model_info(NAME),
            lambda: client.search(HubQuery("x"), 1),
            lambda: client.read_small_file(NAME, COMMIT, "config.json"),
            lambda: client.safetensors_headers(NAME, COMMIT, ["model.safetensors"]),
            lambda: client.check(5),
        ):
            with pytest.raises(HubMisbehaved, match="more private than the Hub's own"):
                ask()
        told = hub_answer(client)
        assert told.reachable is False
        assert "more private" in str(told.reason)
        assert hub.asked
    assert victim.asked == []


def test_no_redirect_of_a_download_to_this_machine(names: dict[str, list[str]], victim: Script) -> None:
    for at_once in (True, False):

        def answer(path: str, at_once: bool = at_once) -> Answer:
            headers = {"X-Repo-Commit": COMMIT, "X-Linked-ETag": '"e"', "X-Linked-Size": "9", "ETag": '"e"'}
            if at_once or answer.called:  # type: ignore[attr-defined]
                return Answer(302, headers={**headers, "Location": victim.endpoint + path})
            answer.called = True  # type: ignore[attr-defined]
            return Answer(200, headers={**headers, "Content-Length": "0"})

        answer.called = False  # type: ignore[attr-defined]
        with scripted_hub(answer, PUBLIC) as hub:
            transport = Transport(
                endpoint=hub.endpoint, repo_id=NAME, commit=COMMIT, token=False, connect_timeout_seconds=5,
                stall_seconds=5,
            )  # fmt: skip
            location = transport.resolve("a.bin").location
            with pytest.raises(HubMisbehaved, match="more private"):
                transport.open(location, start=0, stop=9, size_bytes=9)
            transport.close()
    assert victim.asked == []


def test_connections_of_a_hub_here_are_not_lent_to_a_public_one(names: dict[str, list[str]], victim: Script) -> None:
    own = HubClient(victim.endpoint, False)
    assert own.model_info(NAME).commit == COMMIT
    leading_here = scripted_hub(lambda path: Answer(302, headers={"Location": victim.endpoint + path}), PUBLIC)
    with leading_here as hub, pytest.raises(HubMisbehaved, match="more private"):
        HubClient(hub.endpoint, False).model_info(NAME)
    assert len(victim.asked) == 1


def test_a_name_that_moves_between_two_questions(names: dict[str, list[str]], victim: Script) -> None:
    """DNS rebinding: the redirect is to the Hub's own name, which means another address by then."""

    def answer(path: str) -> Answer:
        return Answer(302, headers={"Location": f"http://hub.test:{port_of(victim)}{path}"})

    with scripted_hub(answer, PUBLIC) as hub:
        client = HubClient(f"http://hub.test:{port_of(hub)}", False)
        names["hub.test"] = [PUBLIC, HERE]
        with pytest.raises(HubMisbehaved, match="more private"):
            client.model_info(NAME)
        names["hub.test"] = [f"{HERE},{PUBLIC}"]
        with pytest.raises(HubUnreachable, match="refused"):
            client.model_info(NAME)  # of the two, only the public address is tried
        assert hub.asked
    assert victim.asked == []


def test_more_public_is_allowed_and_a_hub_here_may_lead_anywhere_but_to_metadata(names: dict[str, list[str]]) -> None:
    with scripted_hub(lambda _path: as_json(GOOD), PUBLIC) as storage:
        for host in (HERE, PRIVATE, PUBLIC):
            with scripted_hub(lambda path: Answer(302, headers={"Location": storage.endpoint + path}), host) as hub:
                assert HubClient(hub.endpoint, False).model_info(NAME).commit == COMMIT
    for place in ("169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "[::ffff:169.254.169.254]", "[fe80::1]"):
        leading_there = scripted_hub(lambda _path, to=place: Answer(302, headers={"Location": f"http://{to}/"}))  # type: ignore[misc]
        with leading_there as hub, pytest.raises(HubMisbehaved, match="no Hub has"):
            HubClient(hub.endpoint, False).model_info(NAME)
        told = hub_answer(HubClient(f"http://{place}", False))
        assert told.reachable is False
        assert "no Hub has" in str(told.reason)


def test_the_address_of_a_proxy_is_not_judged(
    names: dict[str, list[str]], victim: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", victim.endpoint)
    assert HubClient("http://hub.example.org", False).model_info(NAME).commit == COMMIT
    asked = len(victim.asked)
    assert asked
    assert {path.startswith("http://hub.example.org/api/models/") for path, _token in victim.asked} == {True}
    for place in ("http://127.0.0.1:9/x", "http://169.254.169.254/", "http://localhost/", "http://10.0.0.1/"):
        victim.answer = lambda path, to=place: (  # type: ignore[misc]
            Answer(302, headers={"Location": to}) if "hub.example.org" in path else as_json(GOOD)
        )
        with pytest.raises(HubMisbehaved):
            HubClient("http://hub.example.org", False).model_info(NAME)
    assert all("hub.example.org" in path for path, _token in victim.asked)


# Addresses


CLASSES = {
    Reach.PUBLIC: "1.1.1.1 8.8.8.8 52.84.1.1 2606:4700::1111 2a00:1450:4001::200e 64:ff9b::808:808 ::ffff:8.8.8.8"
    " 2002:808:808::1",
    Reach.PRIVATE: "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 198.18.0.1 192.0.2.1 fd12:3456::1 fc00::1"
    " fec0::1 2001:db8::1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1::1 64:ff9b:1::808:808",
    Reach.LOOPBACK: "127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 ::1 :: ::ffff:127.0.0.1 ::ffff:0.0.0.0 64:ff9b::7f00:1"
    " 2002:7f00:1::1 64:ff9b:1::7f00:1 ::127.0.0.1",
    Reach.NEVER: "169.254.169.254 169.254.0.1 100.100.100.200 168.63.129.16 fd00:ec2::254 fe80::1 fe80::1%eth0"
    " ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1 224.0.0.1 ff02::1 255.255.255.255",
}


@pytest.mark.parametrize(
    ("reach", "address"), [(reach, text) for reach, all_ in CLASSES.items() for text in all_.split()]
)
def test_classes(reach: Reach, address: str) -> None:
    assert reach_of(address) is reach
    assert named_reach(address) is reach or "%" in address


@given(st.integers(0, 2**32 - 1))
def test_an_address_within_another_is_no_more_public(number: int) -> None:
    plain = reach_of(str(IPv4Address(number)))
    for prefix in (0xFFFF << 32, 0x64FF9B << 96, 0x64FF9B0001 << 80):
        assert reach_of(str(IPv6Address(prefix | number))) >= plain
    assert reach_of(str(IPv6Address(0x2002 << 112 | number << 80))) >= plain
    for spelling in (str(number), hex(number), f"0{number >> 24:o}.{number & 0xFFFFFF}"):
        assert named_reach(spelling) is plain


@given(st.sampled_from(list(Reach)), st.lists(st.sampled_from(" ".join(CLASSES.values()).split()), min_size=1))
def test_only_allowed_addresses_are_connected_to(limit: Reach, found: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "resolve", lambda _host, _port: found)
        try:
            allowed = allowed_addresses("hub.test", 443, limit)
        except HubMisbehaved:
            allowed = []
    assert all(reach_of(address) <= limit and reach_of(address) is not Reach.NEVER for address in allowed)
    kept = [address for address in found if reach_of(address) <= limit and reach_of(address) is not Reach.NEVER]
    assert allowed == kept
