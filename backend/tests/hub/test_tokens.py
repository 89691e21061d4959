"""A Hub token goes to the Hub it was stored for, however that Hub's address is written, and to no other."""

import random
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants, get_token
from huggingface_hub.utils import get_stored_tokens

from modelyard.core.errors import InvalidRequest
from modelyard.hub.origins import origin_of
from modelyard.hub.tokens import missing_token_note, store_token, token_for

HOME = "https://huggingface.co"


@pytest.fixture(autouse=True)
def token_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "hf" / "token"
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(path))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(path.with_name("stored_tokens")))
    return path


def test_the_token_is_kept_where_every_tool_looks(token_path: Path) -> None:
    store_token(HOME, "  hf_abc \n")
    assert get_token() == "hf_abc"
    assert stat.S_IMODE(token_path.stat().st_mode) == 0o600
    token_path.chmod(0o644)
    store_token(HOME, "hf_other")
    assert get_token() == "hf_other"
    assert stat.S_IMODE(token_path.stat().st_mode) == 0o600
    for nothing in (None, "", "  "):
        store_token(HOME, nothing)
        assert not token_path.exists()


def test_tokens_of_other_hubs_are_named_tokens_of_the_same_store(token_path: Path) -> None:
    store = token_path.with_name("stored_tokens")
    store.parent.mkdir()
    store.write_text("[laptop]\nhf_token = hf_laptop\nrefresh_token = again\nexpires_at = 1\n")
    for endpoint, token in (("https://hub.example.org/mirror", "a"), ("http://[::1]:8000/hub", "b%(x)s")):
        store_token(endpoint, token)
        assert token_for(endpoint) == token
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert get_stored_tokens() == {"laptop": "hf_laptop", "https://hub.example.org": "a", "http://[::1]:8000": "b%(x)s"}
    assert "refresh_token = again" in store.read_text(), "the user's own names keep what belongs to them"
    assert token_for(HOME) is None
    assert not token_path.exists()
    store_token("https://HUB.example.org:443", None)
    assert token_for("https://hub.example.org/mirror") is None
    assert set(get_stored_tokens()) == {"laptop", "http://[::1]:8000"}
    assert sorted(path.name for path in store.parent.iterdir()) in (
        ["stored_tokens"],
        ["stored_tokens", "stored_tokens.lock"],
    )


def test_the_users_own_names_are_no_hubs(token_path: Path) -> None:
    token_path.parent.mkdir()
    names = ("hub.example.org", "HTTPS://hub.example.org", "https://hub.example.org/", "default")
    token_path.with_name("stored_tokens").write_text("".join(f"[{name}]\nhf_token = mine\n" for name in names))
    assert token_for("https://hub.example.org") is None


def test_a_damaged_store_is_not_written_over(token_path: Path) -> None:
    token_path.parent.mkdir()
    store = token_path.with_name("stored_tokens")
    for damaged in (b"hf_secret without a name", b"[a]\nhf_token = \xff\xfe"):
        store.write_bytes(damaged)
        with pytest.raises(InvalidRequest, match="damaged") as caught:
            store_token("https://hub.example.org", "new")
        assert "hf_secret" not in f"{caught.value} {caught.value.__cause__}"
        assert store.read_bytes() == damaged
        assert token_for("https://hub.example.org") is None


@pytest.mark.parametrize("endpoint", [HOME, "https://hub.example.org"])
@pytest.mark.parametrize("token", ["hf\nabc", "hf abc", "hf_ä", "hf\x00", "hf\r\nX-Evil: 1"])
def test_text_that_is_no_token(token_path: Path, endpoint: str, token: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        store_token(endpoint, token)
    assert "hf" not in caught.value.message
    assert not token_path.parent.exists()


def test_the_environment_wins_for_its_own_hub_alone(token_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_env")
    for token in ("hf_abc", None):
        with pytest.raises(InvalidRequest, match="HF_TOKEN") as caught:
            store_token(HOME, token)
        assert "hf_env" not in caught.value.message
    assert not token_path.exists()
    store_token("https://hub.example.org", "theirs")
    assert (token_for(HOME), token_for("https://hub.example.org"), token_for("https://evil")) == (
        "hf_env",
        "theirs",
        None,
    )
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example.org/mirror")
    assert (token_for(HOME), token_for("https://hub.example.org")) == (None, "hf_env")


def test_implicit_tokens_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    store_token(HOME, "a")
    store_token("https://hub.example.org", "b")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    assert (token_for(HOME), token_for("https://hub.example.org")) == (None, None)


def test_what_is_said_of_a_hub_without_a_token() -> None:
    assert missing_token_note("https://hub.example.org") is None, "no token at all"
    store_token(HOME, "a")
    assert missing_token_note(HOME) is None
    note = missing_token_note("https://hub.example.org/mirror")
    assert note is not None
    assert note.startswith("No token is stored for https://hub.example.org.")
    assert HOME in note
    store_token("https://hub.example.org", "b")
    assert missing_token_note("https://hub.example.org/mirror") is None


def test_two_processes_store_at_once(token_path: Path) -> None:
    code = "import sys; from modelyard.hub.tokens import store_token; store_token(sys.argv[1], 'x')"
    environment = {"PATH": "/usr/bin:/bin", "HF_HOME": str(token_path.parent)}
    names = [f"https://hub{number}.example.org" for number in range(4)]
    running = [subprocess.Popen([sys.executable, "-c", code, name], env=environment) for name in names]
    assert [process.wait(60) for process in running] == [0] * 4
    threads = [threading.Thread(target=store_token, args=(f"https://more{n}.example.org", "y")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(get_stored_tokens()) == 12


# Spellings


SAME = [
    ("https://huggingface.co", "https://huggingface.co/", "HTTPS://HuggingFace.CO", "https://huggingface.co:443/x?y#z"),
    ("https://huggingface.co", "https://huggingface.co.", "https://huggingface.co.:443"),
    ("http://127.0.0.1:8000/hub", "http://127.0.0.1:08000"),
    ("http://[::1]:8000", "http://[0:0:0:0:0:0:0:1]:8000/hub", "http://[::0001]:8000"),
    ("https://bücher.example", "https://xn--bcher-kva.example", "https://BÜCHER.example:443"),
]
OTHER = [
    "https://huggingface.co",
    "http://huggingface.co",
    "http://huggingface.co:443",
    "https://huggingface.co:80",
    "https://huggingface.co:8443",
    "https://www.huggingface.co",
    "https://huggingface.co.evil.example",
    "https://evil.example",
    "https://huggingfac\u0435.co",
    "https://huggingface.c",
    "https://huggingface-co.example",
    "http://localhost:8000",
    "http://127.0.0.1:8000",
    "http://127.0.0.1:8001",
    "http://[::1]:8000",
    "http://[::ffff:127.0.0.1]:8000",
]
NOWHERE = [
    "",
    "huggingface.co",
    "builtin",
    "ftp://huggingface.co",
    "https://",
    "https:///huggingface.co",
    "//huggingface.co",
    "https://huggingface.co@evil.example",
    "https://huggingface.co:443@evil.example",
    "https://huggingface.co\\@evil.example",
    "https://huggingface.co\\.evil.example",
    "https://huggingface.co%2eevil.example",
    "https://huggingface.co%00.evil.example",
    "https://huggingface.co\t.evil.example",
    "https://huggingface.co\n.evil.example",
    "https://huggingface.co .evil.example",
    "https://[huggingface.co]",
    "https://[fe80::1%25eth0]",
    "https://huggingface.co:99999",
    "https://huggingface.co:port",
]


@pytest.mark.parametrize("spellings", SAME)
def test_spellings_of_one_hub(spellings: tuple[str, ...]) -> None:
    assert len({origin_of(spelling) for spelling in spellings}) == 1
    origin = origin_of(spellings[0])
    assert origin is not None
    assert origin_of(origin) == origin


def test_hubs_that_look_alike_are_different() -> None:
    origins = [origin_of(endpoint) for endpoint in OTHER]
    assert None not in origins
    assert len(set(origins)) == len(OTHER)


@pytest.mark.parametrize("endpoint", NOWHERE)
def test_what_names_no_hub_gets_no_token(endpoint: str) -> None:
    store_token(HOME, "secret")
    assert origin_of(endpoint) is None
    assert token_for(endpoint) is None
    with pytest.raises(InvalidRequest):
        store_token(endpoint, "x")


def test_a_token_goes_to_the_origin_it_is_for_and_nowhere_else() -> None:
    """Random addresses around the Hub's: the token is there exactly if scheme, host and port are the Hub's."""
    chance = random.Random(7)
    store_token(HOME, "secret")
    sent = 0
    for _ in range(3000):
        scheme = chance.choice(["https", "http", "HTTPS", "Http"])
        host = chance.choice(["huggingface.co", "hugging.face.co", "huggingface.com", "evil.huggingface.co", "hf.co"])
        host = "".join(chance.choice([letter, letter.upper()]) for letter in host) + chance.choice(["", "", "."])
        port = chance.choice(["", ":443", ":80", ":8443", ":0443"])
        path = chance.choice(["", "/", "/huggingface.co", "?huggingface.co", "#@huggingface.co", "/../.."])
        is_home = (
            host.lower().rstrip(".") == "huggingface.co" and scheme.lower() == "https" and port in ("", ":443", ":0443")
        )
        assert token_for(f"{scheme}://{host}{port}{path}") == ("secret" if is_home else None)
        sent += is_home
    assert sent > 100
