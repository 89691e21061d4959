"""The transport of bytes against a Hub that misbehaves: what arrives is right, or nothing is published."""

import contextlib
import errno
import os
import random
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import hf_xet
import pytest
from huggingface_hub import close_session, constants, snapshot_download
from huggingface_hub.utils import _xet

from hub.fault_hub import COMMIT, FaultHub, remote_file
from modelyard.core.errors import (
    ChecksumMismatch,
    Conflict,
    DiskFull,
    GatedNoToken,
    HubMisbehaved,
    HubRateLimited,
    HubUnreachable,
    ModelyardError,
    TokenInvalid,
)
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.download import blocks, part_file, scheduler, transport
from modelyard.hub.download.fetcher import (
    Control,
    FetchLimits,
    FetchResult,
    TransferCancelled,
    TransferPaused,
    TransferProgress,
    fetch_snapshot,
)
from modelyard.hub.download.scheduler import GAIN_BYTES
from modelyard.hub.download.transport import Transport
from modelyard.hub.names import RemoteFile
from modelyard.hub.retry import HUB_IN_TROUBLE, RetryPolicy
from modelyard.hub.tls import tls_context
from support.certificates import make_certificate

REPO = "owner/model"
BLOCK = 1 << 20
PROMPT_SECONDS = 10.0
"""More than any busy machine takes to stop, and far less than what a fault here would make a stop wait for."""
QUICK = FetchLimits(
    retry=RetryPolicy(attempts=4, first_wait_seconds=0.05, max_wait_seconds=0.2, max_retry_after_seconds=2),
    connect_timeout_seconds=2,
    stall_seconds=1,
    minimum_bytes_per_second=200_000,
    minimum_rate_seconds=0.7,
    disk_reserve_bytes=0,
)


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture(autouse=True)
def small_shared_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat files of a few MB as large ones: of many blocks, and shared by all connections from the start."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(scheduler, "SHARE_SECONDS", 0.0)
    monkeypatch.setattr(scheduler, "MEASURE_SECONDS", 0.0)


@pytest.fixture
def hub() -> Iterator[FaultHub]:
    with FaultHub() as hub:
        yield hub


@pytest.fixture
def store(tmp_path: Path) -> HubCache:
    return HubCache(tmp_path / "cache")


@dataclass
class Fetch:
    """A call of fetch_snapshot whose owner can be scripted, and what it told."""

    hub: FaultHub
    store: HubCache
    files: Sequence[RemoteFile]
    limits: FetchLimits = QUICK
    token: str | Literal[False] = False
    wanted: Callable[[], Control] = lambda: Control.RUN
    told: list[TransferProgress] = field(default_factory=list)

    def __call__(self, **changes: Any) -> FetchResult:
        now = replace(self, **changes) if changes else self
        return fetch_snapshot(
            endpoint=now.hub.endpoint,
            repo_id=REPO,
            commit=COMMIT,
            files=now.files,
            store=now.store,
            token=now.token,
            limits=lambda: now.limits,
            on_progress=self.told.append,
            control=now.wanted,
        )

    def assert_arrived(self) -> None:
        for file in self.files:
            assert self.store.verify_file(REPO, COMMIT, file), file.path
        assert_no_leftovers(self.store)
        assert_honest(self.told)
        assert self.told[-1].bytes_done == self.told[-1].bytes_total
        assert self.told[-1].files_done == self.told[-1].files_total == len(self.files)


def assert_honest(told: list[TransferProgress]) -> None:
    done = [progress.bytes_done for progress in told]
    assert done == sorted(done)
    assert len({progress.bytes_total for progress in told}) == 1
    assert all(0 <= progress.bytes_done <= progress.bytes_total for progress in told)
    assert all(progress.eta_seconds is None or progress.eta_seconds >= 0 for progress in told)
    assert {progress.phase for progress in told} <= {"downloading", "verifying", "retrying"}


def assert_no_leftovers(store: HubCache) -> None:
    leftovers = [
        path
        for path in store.cache_dir.rglob("*")
        if path.name.endswith((".tmp", ".part", ".json")) and "blobs" in path.parts
    ]
    assert leftovers == []


def partial_bytes(store: HubCache) -> int:
    return sum(part_file.size_bytes for part_file in store.partials())


def assert_no_threads() -> None:
    """Of downloads that ended; one that was interrupted at that very moment may need another."""
    end = time.monotonic() + PROMPT_SECONDS
    while left := [thread for thread in threading.enumerate() if thread.name.startswith("fetch-")]:
        assert time.monotonic() < end, left
        time.sleep(0.01)


def test_snapshot_arrives_in_the_standard_layout(hub: FaultHub, store: HubCache) -> None:
    files = [
        hub.add("config.json", b'{"a": 1}', lfs=False),
        hub.add("sub/model-00001.safetensors", noise(5 * BLOCK + 17)),
        hub.add("sub/model-00002.safetensors", noise(BLOCK, 1)),
        hub.add("the same again.safetensors", noise(BLOCK, 1)),
        hub.add("empty.txt", b"", lfs=False),
        hub.add("名前.txt", "内容".encode(), lfs=False),
    ]
    fetch = Fetch(hub, store, files)
    result = fetch()
    fetch.assert_arrived()
    assert result == FetchResult(bytes_transferred=sum(f.size_bytes for f in files) - BLOCK, bytes_reused=0)
    store.write_ref(REPO, "main", COMMIT)
    folder = snapshot_download(REPO, cache_dir=store.cache_dir, local_files_only=True)
    assert (Path(folder) / "名前.txt").read_text() == "内容"
    assert (Path(folder) / "config.json").is_symlink()

    again = fetch()
    assert again == FetchResult(bytes_transferred=0, bytes_reused=sum(f.size_bytes for f in files))
    assert hub.count("GET", "empty.txt") == 0


def test_what_another_tool_fetched_is_verified_once_and_linked(hub: FaultHub, store: HubCache) -> None:
    good, damaged = hub.add("good.bin", noise(BLOCK)), hub.add("damaged.bin", noise(BLOCK, 1))
    store.prepare(REPO)
    store.blob_path(REPO, good.blob).write_bytes(noise(BLOCK))
    store.blob_path(REPO, damaged.blob).write_bytes(noise(BLOCK, 2))
    fetch = Fetch(hub, store, [good, damaged])
    assert fetch().bytes_transferred == BLOCK
    fetch.assert_arrived()
    assert hub.count("GET", "good.bin") == 0


def test_truncated_file_in_the_cache_is_replaced(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(2 * BLOCK))
    fetch = Fetch(hub, store, [file])
    fetch()
    store.blob_path(REPO, file.blob).write_bytes(b"short")
    fetch.told.clear()
    fetch()
    fetch.assert_arrived()


FAULTS: dict[str, dict[str, Any]] = {
    "closed early, once": {"fin_after": BLOCK + 5},
    "closed early, always": {"fin_after": BLOCK + 5, "fin_times": 99},
    "reset": {"rst_after": 3 * BLOCK + 1},
    "reset, three times": {"rst_after": 3 * BLOCK + 1, "rst_times": 3},
    "503 on GET": {"get_statuses": [503, 503]},
    "500 on HEAD": {"head_statuses": [500, 502]},
    "429 with Retry-After": {"get_statuses": [429], "retry_after": "1"},
    "429 on HEAD": {"head_statuses": [429, 429]},
    "408": {"get_statuses": [408]},
    "stall": {"stall_after": 2 * BLOCK + 7},
    "trickle": {"trickle": 2000},
    "one flipped bit": {"flip_at": 2 * BLOCK + 9},
    "Range ignored": {"ignore_range": True},
    "Range ignored, closed early": {"ignore_range": True, "fin_after": 3 * BLOCK, "fin_times": 1},
    "no Content-Length": {"chunked": True},
    "no keep-alive": {"close_connections": True},
    "no keep-alive, closed early": {"close_connections": True, "fin_after": BLOCK + 5, "fin_times": 3},
    "announces too much": {"announced_extra": 1000},
    "foreign etag": {"etag": "md5-of-a-mirror"},
}


def copied(faults: dict[str, Any]) -> dict[str, Any]:
    """The hub takes what it has done off its lists."""
    return {name: list(value) if isinstance(value, list) else value for name, value in faults.items()}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("connections", [1, 4])
def test_fault_passes(hub: FaultHub, store: HubCache, faults: dict[str, Any], connections: int) -> None:
    files = [
        hub.add(
            "model.safetensors",
            noise(6 * BLOCK + 3),
            **copied(faults),
        ),
        hub.add("config.json", b"{}", lfs=False),
    ]
    fetch = Fetch(hub, store, files, limits=replace(QUICK, connections=connections))
    result = fetch()
    fetch.assert_arrived()
    if "flip_at" in faults:
        assert result.bytes_transferred == 2 * files[0].size_bytes + 2
    elif not {"ignore_range", "announced_extra"} & set(faults):
        # Bytes the client already had are not asked for again.
        assert result.bytes_transferred == files[0].size_bytes + 2


def test_waiting_for_a_retry_is_told(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(BLOCK), get_statuses=[429], retry_after="1")
    fetch = Fetch(hub, store, [file])
    began = time.monotonic()
    fetch()
    assert time.monotonic() - began > 1
    waits = [progress for progress in fetch.told if progress.phase == "retrying"]
    assert waits
    assert waits[0].message == "retrying in 1 s (HTTP 429)"


def test_retry_after_is_capped(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(BLOCK), get_statuses=[503], retry_after="86400")
    began = time.monotonic()
    Fetch(hub, store, [file], limits=replace(QUICK, retry=replace(QUICK.retry, max_retry_after_seconds=0.5)))()
    assert time.monotonic() - began < 5


ENDINGS: dict[str, tuple[dict[str, Any], type[ModelyardError]]] = {
    "wrong content twice": ({"flip_at": 5, "flip_times": 9}, ChecksumMismatch),
    "503 for ever": ({"get_statuses": [503] * 99}, HubUnreachable),
    "429 for ever": ({"head_statuses": [429] * 99}, HubRateLimited),
    "reset for ever": ({"rst_after": 100, "rst_times": 99}, HubUnreachable),
    "stalled for ever": ({"stall_after": 100, "stall_times": 99}, HubUnreachable),
    "trickle for ever": ({"trickle": 2000, "trickle_times": 99}, HubUnreachable),
    "no headers": ({"stall_before_headers": True}, HubUnreachable),
    "shorter than listed": ({"truncate_to": BLOCK + 5}, HubMisbehaved),
    "HEAD lies about the size": ({"head_size": 10}, HubMisbehaved),
    "content changed under the commit": ({"etag": "f" * 64}, HubMisbehaved),
    "another commit": ({"commit": "d" * 40}, HubMisbehaved),
    "redirects in circles": ({"redirect_loop": True}, HubMisbehaved),
    "401": ({"get_statuses": [401]}, GatedNoToken),
    "404": ({"head_statuses": [404], "error_code": "EntryNotFound"}, HubMisbehaved),
    "gated": ({"head_statuses": [403], "error_code": "GatedRepo"}, GatedNoToken),
    "file scheme": ({"redirect_to": "file:///etc"}, HubMisbehaved),
}


@pytest.mark.parametrize(("faults", "error"), ENDINGS.values(), ids=ENDINGS.keys())
def test_hopeless_fault_ends_with_a_clear_error(
    hub: FaultHub, store: HubCache, faults: dict[str, Any], error: type[ModelyardError]
) -> None:
    file = hub.add("model.bin", noise(2 * BLOCK), **copied(faults))
    fetch = Fetch(hub, store, [file], limits=replace(QUICK, connections=2, stall_seconds=0.5, minimum_rate_seconds=0.3))
    with pytest.raises(error) as caught:
        fetch()
    assert type(caught.value) is error
    assert any(word in caught.value.message for word in ("model.bin", REPO, hub.endpoint, "bytes"))
    assert caught.value.hint
    assert (caught.value.hint == HUB_IN_TROUBLE) == (503 in faults.get("get_statuses", ()))
    assert file.blob not in caught.value.message
    assert not store.blob_path(REPO, file.blob).exists()
    assert not list(store.repo_folder(REPO).glob("snapshots/*/*"))
    assert_honest(fetch.told)


def test_a_hub_that_ends_every_range_early_is_given_three_answers(hub: FaultHub, store: HubCache) -> None:
    # Each brings enough to count as progress.
    file = hub.add("model.bin", noise(24 * BLOCK), answer_bytes=GAIN_BYTES + 1)
    with pytest.raises(HubMisbehaved, match=r"'model\.bin' with fewer bytes than asked for, 3 times in a row"):
        Fetch(hub, store, [file], limits=replace(QUICK, connections=1))()
    assert hub.count("GET") == 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusals_are_not_repeated(
    hub: FaultHub, store: HubCache, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Not even by another connection, in the moment between the end of the refused request and the end of all."""
    release = part_file.PartialFile.release

    def slowly(part: part_file.PartialFile, claim: blocks.Claim) -> None:
        release(part, claim)
        time.sleep(0.5)  # others look for work ten times a second

    monkeypatch.setattr(part_file.PartialFile, "release", slowly)
    file = hub.add("model.bin", noise(BLOCK), get_statuses=[status] * 9)
    with pytest.raises(ModelyardError):
        Fetch(hub, store, [file])()
    assert hub.count("GET") == 1


def test_one_failed_file_ends_the_others_at_once_and_keeps_their_data(hub: FaultHub, store: HubCache) -> None:
    files = [hub.add(f"shard-{n}.bin", noise(4 * BLOCK, n), stall_after=BLOCK, stall_times=99) for n in range(3)]
    files.append(hub.add("bad.bin", noise(BLOCK, 9), head_statuses=[404] * 9, error_code="EntryNotFound"))
    hub.faults["bad.bin"].head_statuses.insert(0, 503)
    retry = replace(QUICK.retry, first_wait_seconds=1.5, max_wait_seconds=1.5)
    limits = replace(QUICK, retry=retry, stall_seconds=60, minimum_rate_seconds=60)
    began = time.monotonic()
    with pytest.raises(HubMisbehaved):
        Fetch(hub, store, files, limits=limits)()
    assert time.monotonic() - began < PROMPT_SECONDS
    kept = partial_bytes(store)
    assert kept > 0
    hub.faults["bad.bin"].head_statuses.clear()
    for file in files:
        hub.faults[file.path].stall_times = 0
    fetch = Fetch(hub, store, files)
    result = fetch()
    fetch.assert_arrived()
    assert result.bytes_reused >= kept - 4 * 4096
    assert result.bytes_transferred + result.bytes_reused == sum(file.size_bytes for file in files)


def stop_after(seconds: float, what: Control) -> Callable[[], Control]:
    deadline = time.monotonic() + seconds
    return lambda: what if time.monotonic() >= deadline else Control.RUN


def stop_when(reached: Callable[[], bool], what: Control = Control.PAUSE) -> Callable[[], Control]:
    """Where a test needs a state, however long it takes; but not for ever."""
    deadline = time.monotonic() + 60
    return lambda: what if reached() or time.monotonic() >= deadline else Control.RUN


def stop_with_bytes(told: list[TransferProgress], at_least: int = 1) -> Callable[[], Control]:
    return stop_when(lambda: bool(told) and told[-1].bytes_done >= at_least)


def test_pause_and_resume_lose_no_byte(hub: FaultHub, store: HubCache) -> None:
    files = [hub.add(f"{n}.bin", noise(3 * BLOCK + n, n), bytes_per_second=BLOCK // 4) for n in range(3)]
    fetch = Fetch(hub, store, files, limits=replace(QUICK, connections=4))
    begun = stop_when(lambda: [part.size_bytes > 0 for part in store.partials()] == [True] * 3)
    with pytest.raises(TransferPaused):
        fetch(wanted=begun)
    paused_at = fetch.told[-1].bytes_done
    assert paused_at > 0
    assert len(store.partials()) == 3
    for file in files:
        hub.faults[file.path].bytes_per_second = None
    later = Fetch(hub, store, files)
    result = later()
    later.assert_arrived()
    assert later.told[0].bytes_done >= paused_at
    assert result.bytes_transferred + result.bytes_reused == sum(file.size_bytes for file in files)


@pytest.mark.parametrize(
    "faults",
    [
        {"stall_after": BLOCK // 2, "stall_times": 9},
        {"stall_before_headers": True},
        {"chunked": True, "bytes_per_second": 9999},
    ],
    ids=["mid-body", "before the headers", "chunked"],
)
@pytest.mark.parametrize("what", [Control.PAUSE, Control.CANCEL])
def test_stop_is_quick_even_when_the_server_is_silent(
    hub: FaultHub, store: HubCache, faults: dict[str, Any], what: Control
) -> None:
    file = hub.add("model.bin", noise(4 * BLOCK), **faults)
    limits = replace(QUICK, stall_seconds=30, minimum_rate_seconds=60)
    stop_at = time.monotonic() + 0.6
    with pytest.raises((TransferPaused, TransferCancelled)):
        Fetch(hub, store, [file], limits=limits)(wanted=stop_after(0.6, what))
    assert time.monotonic() - stop_at < PROMPT_SECONDS


def test_cancel_removes_unfinished_files_and_says_how_much(hub: FaultHub, store: HubCache) -> None:
    done = hub.add("config.json", b"{}", lfs=False)
    files = [done, hub.add("model.bin", noise(8 * BLOCK), bytes_per_second=BLOCK // 8)]
    begun = Fetch(hub, store, files)
    with pytest.raises(TransferPaused):
        begun(wanted=stop_when(lambda: store.verify_file(REPO, COMMIT, done) and partial_bytes(store) > 0))
    on_disk = partial_bytes(store)
    assert on_disk > 0
    with pytest.raises(TransferCancelled) as caught:
        Fetch(hub, store, files)(wanted=lambda: Control.CANCEL)
    assert caught.value.freed_bytes >= on_disk
    assert store.partials() == []
    assert_no_leftovers(store)
    assert store.verify_file(REPO, COMMIT, done)


def test_what_the_owner_raises_ends_the_download_like_a_pause(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(4 * BLOCK), bytes_per_second=BLOCK // 4)
    fetch = Fetch(hub, store, [file])
    begun = stop_with_bytes(fetch.told)

    def broken() -> Control:
        if begun() is not Control.RUN:
            raise RuntimeError("the database is gone")
        return Control.RUN

    with pytest.raises(RuntimeError, match="database"):
        fetch(wanted=broken)
    assert len(store.partials()) == 1
    assert_no_threads()


def test_token_stays_with_the_hub(hub: FaultHub, store: HubCache) -> None:
    with FaultHub() as storage:
        hub.required_token = "secret"
        content = noise(3 * BLOCK)
        file = hub.add("model.bin", content, redirect_to=storage.endpoint)
        storage.add("model.bin", content)
        fetch = Fetch(hub, store, [file], token="secret")
        fetch()
        fetch.assert_arrived()
        assert {seen.authorization for seen in hub.requests} == {"Bearer secret"}
        assert {seen.authorization for seen in storage.requests} == {None}
        assert storage.count("GET") >= 1


def test_storage_that_refuses_a_new_location_is_reported(hub: FaultHub, store: HubCache) -> None:
    with FaultHub() as storage:
        content = noise(BLOCK)
        file = hub.add("model.bin", content, redirect_to=storage.endpoint)
        storage.add("model.bin", content, get_statuses=[403])
        with pytest.raises(HubMisbehaved, match="refused"):
            Fetch(hub, store, [file])()


def test_expired_location_is_asked_for_again(hub: FaultHub, store: HubCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.hub.download.connection.LOCATION_SECONDS", 0.0)
    with FaultHub() as storage:
        content = noise(BLOCK)
        file = hub.add("model.bin", content, redirect_to=storage.endpoint)
        storage.add("model.bin", content, get_statuses=[403])
        fetch = Fetch(hub, store, [file])
        fetch()
        fetch.assert_arrived()
        assert hub.count("HEAD") == 2


@pytest.fixture
def xet_file(hub: FaultHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteFile:
    """A file above the (lowered) limit for plain HTTP; its Xet storage is hf_xet's own in a local folder."""
    monkeypatch.setattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", 4 * BLOCK)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    # As if it were the Hugging Face Hub: others are not trusted with where hf_xet connects to.
    monkeypatch.setattr(transport, "DEFAULT_ENDPOINT", hub.endpoint)
    monkeypatch.setattr(_xet, "XET_CONNECTION_INFO_CACHE", {})
    (tmp_path / "xet").mkdir()
    hub.xet_storage = f"local://{tmp_path / 'xet'}"
    content = noise(20 * BLOCK + 3)
    access = {"endpoint": hub.xet_storage, "token": "t", "token_expiry_unix_secs": int(time.time()) + 3600}
    with hf_xet.XetSession().new_upload_commit(**access) as commit:
        upload = commit.start_upload_bytes(content)
    return hub.add("model.bin", content, xet_hash=upload.result().xet_info.hash)


def test_file_too_large_for_plain_http_comes_through_xet(hub: FaultHub, store: HubCache, xet_file: RemoteFile) -> None:
    small = hub.add("small.bin", noise(BLOCK, 1), xet_hash="f" * 64)
    hub.required_token = "secret"
    fetch = Fetch(hub, store, [xet_file, small], token="secret")
    assert fetch().bytes_transferred == xet_file.size_bytes + BLOCK
    fetch.assert_arrived()
    assert hub.count("GET", "model.bin") == 0
    assert hub.count("GET", "small.bin") == 1
    assert hub.count("GET", "xet-read-token") == 1


def test_xet_download_pauses_and_resumes_without_loss(hub: FaultHub, store: HubCache, xet_file: RemoteFile) -> None:
    fetch = Fetch(hub, store, [xet_file], limits=replace(QUICK, connections=3, bandwidth_bytes_per_second=4 * BLOCK))
    with pytest.raises(TransferPaused):
        fetch(wanted=stop_with_bytes(fetch.told, 2 * BLOCK))
    later = Fetch(hub, store, [xet_file])
    result = later()
    later.assert_arrived()
    assert result.bytes_reused > BLOCK
    assert result.bytes_transferred + result.bytes_reused == xet_file.size_bytes
    assert hub.count("GET", "model.bin") == 0


@pytest.mark.parametrize("what", [Control.PAUSE, Control.CANCEL])
def test_stop_is_quick_while_the_xet_storage_is_silent(
    hub: FaultHub, store: HubCache, xet_file: RemoteFile, what: Control
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hub.xet_storage = f"http://127.0.0.1:{silent.getsockname()[1]}"
        stop_at = time.monotonic() + 1
        with pytest.raises((TransferPaused, TransferCancelled)):
            Fetch(hub, store, [xet_file])(wanted=stop_after(1, what))
        assert time.monotonic() - stop_at < PROMPT_SECONDS
        assert_no_threads()


def test_damaged_xet_content_is_not_published(hub: FaultHub, store: HubCache, xet_file: RemoteFile) -> None:
    hub.contents["model.bin"] = noise(20 * BLOCK + 3, seed=1)
    announced = remote_file("model.bin", hub.contents["model.bin"])
    with pytest.raises(ChecksumMismatch):
        Fetch(hub, store, [announced])()
    assert not store.blob_path(REPO, announced.blob).exists()


def test_content_missing_in_the_xet_storage_ends_with_a_clear_error(
    hub: FaultHub, store: HubCache, xet_file: RemoteFile
) -> None:
    hub.faults["model.bin"].xet_hash = "f" * 64
    with pytest.raises(HubUnreachable, match=r"model\.bin"):
        Fetch(hub, store, [xet_file])()


@pytest.mark.parametrize("why", ["not offered", "switched off", "token would go elsewhere", "chosen in settings"])
def test_file_too_large_for_plain_http_without_xet_says_so(
    hub: FaultHub, store: HubCache, xet_file: RemoteFile, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "not offered":
        hub.faults["model.bin"].xet_hash = None
    elif why == "switched off":
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    elif why == "chosen in settings":
        monkeypatch.setattr(transport, "DEFAULT_ENDPOINT", "https://huggingface.co")
    else:
        hub.faults["model.bin"].xet_hub = "http://localhost:9"
    hub.faults["model.bin"].bytes_per_second = 4 * BLOCK
    fetch = Fetch(hub, store, [xet_file])
    fetch()
    fetch.assert_arrived()
    assert hub.count("GET", "xet-read-token") == 0
    said = {progress.message for progress in fetch.told} - {None}
    assert said == {
        "model.bin (21.0 MB) comes without Xet, in ranges of 134 MB, which some storage networks refuse",
    }


def test_invalid_token_is_named(hub: FaultHub, store: HubCache) -> None:
    hub.required_token = "right"
    file = hub.add("model.bin", noise(10))
    with pytest.raises(GatedNoToken):
        Fetch(hub, store, [file])()
    hub.required_token = None
    hub.faults["model.bin"].head_statuses.append(401)
    with pytest.raises(TokenInvalid):
        Fetch(hub, store, [file], token="wrong")()


def test_content_that_changed_since_the_pause_is_not_mixed(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(4 * BLOCK), etag="mirror-1", bytes_per_second=BLOCK // 4)
    begun = Fetch(hub, store, [file])
    with pytest.raises(TransferPaused):
        begun(wanted=stop_with_bytes(begun.told))
    hub.faults["model.bin"].etag = "mirror-2"
    hub.faults["model.bin"].bytes_per_second = None
    fetch = Fetch(hub, store, [file])
    assert fetch().bytes_transferred == file.size_bytes
    fetch.assert_arrived()


def put_elsewhere(store: HubCache, file: RemoteFile, content: bytes) -> Path:
    store.prepare("other/model")
    blob = store.blob_path("other/model", file.blob)
    blob.write_bytes(content)
    return blob


def test_content_of_another_repository_is_linked_and_not_fetched(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(3 * BLOCK))
    other = put_elsewhere(store, file, noise(3 * BLOCK))
    fetch = Fetch(hub, store, [file])
    assert fetch() == FetchResult(bytes_transferred=0, bytes_reused=3 * BLOCK)
    fetch.assert_arrived()
    assert hub.count("GET", "model.bin") == 0
    assert store.blob_path(REPO, file.blob).samefile(other)


def test_damaged_content_of_another_repository_is_fetched(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(3 * BLOCK))
    other = put_elsewhere(store, file, noise(3 * BLOCK, seed=1))
    fetch = Fetch(hub, store, [file])
    assert fetch().bytes_transferred == 3 * BLOCK
    assert store.verify_file(REPO, COMMIT, file)
    assert_no_leftovers(store)
    assert other.read_bytes() == noise(3 * BLOCK, seed=1)


def test_bandwidth_limit_holds_and_follows_changes(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(24 * BLOCK))
    limits = replace(QUICK, bandwidth_bytes_per_second=BLOCK)  # the whole takes 24 s
    fetch = Fetch(hub, store, [file])
    began = time.monotonic()
    limited: list[tuple[float, int]] = []

    def live() -> FetchLimits:
        seconds = time.monotonic() - began
        if seconds > 1.5:
            return replace(limits, bandwidth_bytes_per_second=None)
        if fetch.told:
            limited.append((seconds, fetch.told[-1].bytes_done))
        return limits

    fetch_snapshot(
        endpoint=hub.endpoint,
        repo_id=REPO,
        commit=COMMIT,
        files=[file],
        store=store,
        token=False,
        limits=live,
        on_progress=fetch.told.append,
        control=lambda: Control.RUN,
    )
    seconds = time.monotonic() - began
    fetch.assert_arrived()
    assert 1.5 < seconds < 12
    # What idle time may be made up for, and one reservation, come on top.
    assert all(count <= (moment + 0.4) * BLOCK for moment, count in limited), limited


def test_one_slow_file_uses_all_connections_and_many_files_one_each(hub: FaultHub, store: HubCache) -> None:
    big = hub.add("big.bin", noise(8 * BLOCK), bytes_per_second=BLOCK // 2)
    Fetch(hub, store, [big], limits=replace(QUICK, connections=8))()
    assert len({seen.port for seen in hub.requests if seen.method == "GET"}) == 8

    small = [hub.add(f"{n}.bin", noise(BLOCK, n + 1)) for n in range(8)]
    Fetch(hub, store, small, limits=replace(QUICK, connections=4))()
    assert all(hub.count("GET", file.path) == 1 for file in small)


def test_what_arrives_in_order_is_hashed_without_reading_it_back(
    hub: FaultHub, store: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    real = os.preadv

    def counted(descriptor: int, buffers: Any, offset: int) -> int:
        reads.append(offset)
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", counted)
    files = [hub.add(f"{n}.bin", noise(6 * BLOCK + n, n)) for n in range(2)]
    with monkeypatch.context() as patched:
        patched.setattr(scheduler, "SHARE_SECONDS", float("inf"))
        fetch = Fetch(hub, store, files, limits=replace(QUICK, connections=8))
        fetch()
    fetch.assert_arrived()
    assert reads == []

    shared = Fetch(hub, store, [hub.add("shared.bin", noise(8 * BLOCK, 9), bytes_per_second=BLOCK)])
    shared()
    shared.assert_arrived()
    assert reads


def test_two_downloads_at_once_fetch_each_byte_once(hub: FaultHub, store: HubCache) -> None:
    files = [hub.add(f"{n}.bin", noise(2 * BLOCK, n), bytes_per_second=2 * BLOCK) for n in range(2)]
    results: list[FetchResult] = []
    fetches = [Fetch(hub, store, files) for _ in range(2)]
    threads = [threading.Thread(target=lambda fetch=fetch: results.append(fetch())) for fetch in fetches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 2
    assert sum(result.bytes_transferred for result in results) == sum(file.size_bytes for file in files)
    for fetch in fetches:
        fetch.assert_arrived()


def test_waiting_for_another_owner_can_be_paused(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(BLOCK))
    store.prepare(REPO)
    owner = part_file.PartialFile.open(store, REPO, file)
    assert owner is not None
    fetch = Fetch(hub, store, [file])
    with pytest.raises(TransferPaused):
        fetch(wanted=stop_after(0.7, Control.PAUSE))
    assert fetch.told[-1].message == "waiting for another process that fetches the same files"
    owner.discard()


def test_full_disk_is_said_before_a_byte_is_fetched(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(BLOCK))
    with pytest.raises(DiskFull):
        Fetch(hub, store, [file], limits=replace(QUICK, disk_reserve_bytes=2**60))()
    assert hub.requests == []


def test_disk_that_fills_up_keeps_what_is_there(
    hub: FaultHub, store: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = hub.add("model.bin", noise(6 * BLOCK))
    real = os.pwritev

    def full(descriptor: int, buffers: Any, offset: int) -> int:
        if offset >= 3 * BLOCK:
            # From now on there is no room for a second journal either.
            monkeypatch.setattr(Path, "replace", no_room)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, buffers, offset)

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(DiskFull):
        Fetch(hub, store, [file], limits=replace(QUICK, connections=1))()
    monkeypatch.undo()
    monkeypatch.setattr(blocks, "BLOCK_BYTES", BLOCK)
    kept = partial_bytes(store)
    assert kept >= 2 * BLOCK
    fetch = Fetch(hub, store, [file])
    assert fetch() == FetchResult(bytes_transferred=6 * BLOCK - kept, bytes_reused=kept)
    fetch.assert_arrived()


def test_stall_is_told_and_the_rate_falls_to_zero(
    hub: FaultHub, store: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.hub.download.progress.RATE_WINDOW_SECONDS", 1.0)
    file = hub.add("model.bin", noise(4 * BLOCK), stall_after=2 * BLOCK, stall_times=9)
    fetch = Fetch(hub, store, [file], limits=replace(QUICK, connections=1, stall_seconds=60))

    def stalled() -> bool:
        return bool(fetch.told) and str(fetch.told[-1].message).startswith("stalled for")

    with pytest.raises(TransferPaused):
        fetch(wanted=stop_when(lambda: stalled() and fetch.told[-1].bytes_per_second == 0))
    assert stalled()
    assert fetch.told[-1].bytes_per_second == 0
    assert all(progress.eta_seconds is None for progress in fetch.told)


def test_estimate_of_the_time_left_comes_once_it_is_stable(
    hub: FaultHub, store: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.hub.download.progress.STABLE_SECONDS", 1.0)
    file = hub.add("model.bin", noise(6 * BLOCK), bytes_per_second=2 * BLOCK)
    fetch = Fetch(hub, store, [file], limits=replace(QUICK, connections=1))
    moments: list[float] = []

    def note() -> Control:
        moments.append(time.monotonic())
        return Control.RUN

    fetch(wanted=note)
    early = [progress for moment, progress in zip(moments, fetch.told, strict=False) if moment - moments[0] < 0.7]
    assert all(progress.eta_seconds is None for progress in early)
    estimates = [progress for progress in fetch.told if progress.eta_seconds is not None]
    assert estimates
    for progress in estimates[:-1]:
        left = progress.eta_seconds * progress.bytes_per_second if progress.eta_seconds else 0.0
        assert left == pytest.approx(progress.bytes_total - progress.bytes_done, abs=BLOCK)
    assert fetch.told[-1].eta_seconds in (0, None)


def test_proxy_of_the_environment_is_used(hub: FaultHub, store: HubCache, monkeypatch: pytest.MonkeyPatch) -> None:
    file = hub.add("model.bin", noise(2 * BLOCK), redirect_to="http://storage.invalid")
    with FaultHub() as proxy:
        # A plain HTTP proxy sees the whole address; the fault Hub takes the path out of it.
        proxy.add("model.bin", noise(2 * BLOCK))
        monkeypatch.setenv("http_proxy", proxy.endpoint)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        fetch = Fetch(hub, store, [file])
        fetch()
        fetch.assert_arrived()
        assert proxy.count("GET") >= 1


@pytest.fixture
def fresh_trust() -> Iterator[None]:
    """Whom to trust is read once; these tests change it."""

    def forget() -> None:
        tls_context.cache_clear()
        close_session()

    forget()
    yield
    forget()


@pytest.mark.usefixtures("fresh_trust")
def test_own_certificate_authority_is_trusted_when_named(
    store: HubCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with FaultHub(certificate) as hub:
        file = hub.add("model.bin", noise(3 * BLOCK), fin_after=BLOCK // 2)
        fetch = Fetch(hub, store, [file])
        fetch()
        fetch.assert_arrived()


@pytest.mark.usefixtures("fresh_trust")
def test_bytes_honour_the_certificates_of_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with FaultHub(certificate) as hub:
        hub.add("model.bin", b"content")
        connections = Transport(
            endpoint=hub.endpoint, repo_id=REPO, commit=COMMIT, token=False, connect_timeout_seconds=2, stall_seconds=2
        )
        location = f"{hub.endpoint}/{REPO}/resolve/{COMMIT}/model.bin"
        with connections.open(location, start=0, stop=7, size_bytes=7) as body:
            assert body.read(100) == b"content"


@pytest.mark.usefixtures("fresh_trust")
@pytest.mark.parametrize("what", [Control.PAUSE, Control.CANCEL])
def test_stop_is_quick_over_tls(
    store: HubCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: Control
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with FaultHub(certificate) as hub:
        file = hub.add("model.bin", noise(4 * BLOCK), stall_after=BLOCK // 2, stall_times=9)
        stop_at = time.monotonic() + 0.6
        with pytest.raises((TransferPaused, TransferCancelled)):
            Fetch(hub, store, [file], limits=replace(QUICK, stall_seconds=30))(wanted=stop_after(0.6, what))
        assert time.monotonic() - stop_at < PROMPT_SECONDS
        assert_no_threads()


@pytest.mark.usefixtures("fresh_trust")
def test_unknown_certificate_authority_is_not_tried_again(store: HubCache, tmp_path: Path) -> None:
    with FaultHub(make_certificate(tmp_path)) as hub:
        file = hub.add("model.bin", noise(10))
        began = time.monotonic()
        with pytest.raises(HubUnreachable, match="certificate"):
            Fetch(hub, store, [file], limits=replace(QUICK, retry=RetryPolicy(first_wait_seconds=60)))()
        assert time.monotonic() - began < PROMPT_SECONDS


def test_garbage_in_a_journal_starts_the_file_again(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(3 * BLOCK))
    store.prepare(REPO)
    for garbage in (
        "",
        "null",
        "[1]",
        '{"version": 1, "size_bytes": 3145728, "written": [[0, 1e9]], "boot_id": 3}',
        "\x00",
    ):
        store.part_path(REPO, file.blob).write_bytes(noise(3 * BLOCK, 7))
        store.journal_path(REPO, file.blob).write_text(garbage)
        fetch = Fetch(hub, store, [file])
        assert fetch() == FetchResult(bytes_transferred=3 * BLOCK, bytes_reused=0)
        fetch.assert_arrived()
        store.blob_path(REPO, file.blob).unlink()


def test_journal_that_promises_too_much_is_caught_by_the_hash(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(3 * BLOCK), bytes_per_second=BLOCK // 4)
    begun = Fetch(hub, store, [file])
    with pytest.raises(TransferPaused):
        begun(wanted=stop_with_bytes(begun.told))
    hub.faults["model.bin"].bytes_per_second = None
    with store.part_path(REPO, file.blob).open("r+b") as part:
        part.write(b"damage")
    fetch = Fetch(hub, store, [file])
    fetch()
    fetch.assert_arrived()


CHILD = textwrap.dedent("""
    import sys
    from pathlib import Path
    from hub.fault_hub import COMMIT
    from modelyard.hub.download import blocks, scheduler
    from modelyard.hub.download.fetcher import Control, FetchLimits, fetch_snapshot
    from modelyard.hub.names import RemoteFile
    from modelyard.hub.cache.hub_cache import HubCache
    endpoint, cache, path, size, sha256 = sys.argv[1:]
    blocks.BLOCK_BYTES = 1 << 20
    scheduler.SHARE_SECONDS = scheduler.MEASURE_SECONDS = 0.0
    print("go", flush=True)
    fetch_snapshot(
        endpoint=endpoint, repo_id="owner/model", commit=COMMIT, store=HubCache(Path(cache)), token=False,
        files=[RemoteFile(path, int(size), sha256, None)],
        limits=lambda: FetchLimits(connections=4, disk_reserve_bytes=0),
        on_progress=lambda progress: None, control=lambda: Control.RUN,
    )
    print(Path("/proc/self/status").read_text())
""")


def child(hub: FaultHub, store: HubCache, file: RemoteFile) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-c",
        CHILD,
        hub.endpoint,
        str(store.cache_dir),
        file.path,
        str(file.size_bytes),
        str(file.sha256),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def test_kill_at_any_moment_costs_at_most_a_block_per_connection(hub: FaultHub, store: HubCache) -> None:
    size = 24 * BLOCK + 5
    file = hub.add("model.bin", noise(size), bytes_per_second=4 * BLOCK)
    moments = random.Random()
    kills = 0
    for _ in range(5):
        process = child(hub, store, file)
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.05, 0.5))
        if process.poll() is None:
            kills += 1
            process.send_signal(signal.SIGKILL)
            process.wait()
        process.stdout.close()
    time.sleep(0.2)  # what the dead client's sockets still hold was counted as sent, but never arrived
    hub.faults["model.bin"].bytes_per_second = None
    fetch = Fetch(hub, store, [file], limits=replace(QUICK, connections=4))
    result = fetch()
    fetch.assert_arrived()
    assert result.bytes_transferred + result.bytes_reused == size
    # The server also counts what was under way to a killed process: buffers of four sockets.
    in_sockets = kills * 4 * 4 * BLOCK
    assert hub.body_bytes["model.bin"] <= size + kills * 4 * BLOCK + in_sockets


def test_process_that_was_killed_resumes_from_its_blocks(hub: FaultHub, store: HubCache) -> None:
    size = 16 * BLOCK
    file = hub.add("model.bin", noise(size), bytes_per_second=2 * BLOCK)
    process = child(hub, store, file)
    deadline = time.monotonic() + 20
    while partial_bytes(store) < 8 * BLOCK and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    hub.faults["model.bin"].bytes_per_second = None
    fetch = Fetch(hub, store, [file], limits=replace(QUICK, connections=4))
    result = fetch()
    fetch.assert_arrived()
    assert result.bytes_reused >= 8 * BLOCK - 4 * BLOCK
    assert fetch.told[0].bytes_done == result.bytes_reused


def test_two_processes_and_a_kill_leave_one_right_file(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(6 * BLOCK), bytes_per_second=BLOCK)
    first, second = child(hub, store, file), child(hub, store, file)
    time.sleep(1.5)
    first.kill()
    hub.faults["model.bin"].bytes_per_second = None
    assert second.wait(30) == 0
    first.wait()
    for process in (first, second):
        assert process.stdout is not None
        process.stdout.close()
    assert store.verify_file(REPO, COMMIT, file)
    assert_no_leftovers(store)


def test_memory_does_not_grow_with_the_file(hub: FaultHub, store: HubCache) -> None:
    file = hub.add("model.bin", noise(192 * BLOCK))
    process = child(hub, store, file)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    peak = re.search(rb"VmHWM:\s+(\d+) kB", output)
    assert peak is not None
    assert int(peak[1]) * 1024 < 150e6


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"version": 1, "size_bytes"', b'{"written": {}}', b"\xff\xfe{"])
def test_nonsense_in_a_journal_starts_the_file_again(hub: FaultHub, store: HubCache, content: bytes) -> None:
    file = hub.add("model.bin", noise(3 * BLOCK))
    store.prepare(REPO)
    store.part_path(REPO, file.blob).write_bytes(noise(3 * BLOCK, 7))
    store.journal_path(REPO, file.blob).write_bytes(content)
    fetch = Fetch(hub, store, [file])
    assert fetch() == FetchResult(bytes_transferred=3 * BLOCK, bytes_reused=0)
    fetch.assert_arrived()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_something_else_in_the_place_of_a_journal_is_named_and_locks_nothing(
    hub: FaultHub, store: HubCache, make: Callable[[Path], None]
) -> None:
    """The same process succeeds as soon as it is out of the way: a part whose journal cannot be read is let go of."""
    file = hub.add("model.bin", noise(3 * BLOCK))
    store.prepare(REPO)
    journal = store.journal_path(REPO, file.blob)
    store.part_path(REPO, file.blob).write_bytes(noise(3 * BLOCK, 7))
    make(journal)
    for _ in range(2):
        with pytest.raises(Conflict, match=re.escape(str(journal))):
            Fetch(hub, store, [file])()
    journal.rmdir() if journal.is_dir() else journal.unlink()
    fetch = Fetch(hub, store, [file])
    fetch()
    fetch.assert_arrived()
