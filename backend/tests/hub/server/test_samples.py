"""The sample models: made once, on first use, by a child process."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from hub.hub_faults import serve
from modelyard.core.errors import DiskFull
from modelyard.core.settings import get_settings
from modelyard.hub.error_translation import translate_hub_errors
from modelyard.hub.server import samples
from modelyard.hub.server.app import create_hub_app
from modelyard.hub.server.repositories import RepoNotFound, RepoRevisionNotFound, RepoUnavailable
from modelyard.hub.server.samples import CATALOGUE, SAMPLE_TAG, SampleSource
from support import programs
from support.secrets import SECRETS, environment_of
from support.storage import small_disk

pytestmark = pytest.mark.usefixtures("stock_client")

LLAMA = "modelyard-samples/tiny-llama"


def test_the_first_listing_answers_at_once_and_all_who_wait_share_one_making(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")
    with serve(create_hub_app([SampleSource(tmp_path)], api_key=None)) as endpoint, ThreadPoolExecutor(8) as pool:
        api = HfApi(endpoint=endpoint, token=False)
        listed = list(api.list_models(search="tiny", full=True))
        assert not list(tmp_path.glob("tiny-*")), "it waited for the making"
        assert {model.id for model in listed} == {sample.repo_id for sample in CATALOGUE}
        assert all(model.sha is None and model.siblings == [] for model in listed)
        answers = [pool.submit(api.model_info, CATALOGUE[n % 3].repo_id) for n in range(8)]
        most = 0
        while not all(answer.done() for answer in answers):
            makers = _makers()
            most = max(most, len(makers))
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                assert all(not set(SECRETS) & set(environment_of(maker.pid)) for maker in makers)
            time.sleep(0.05)
        assert all(answer.result().sha for answer in answers)
        assert most == 1
        assert all(model.sha and model.siblings for model in api.list_models(full=True))


def test_processes_that_want_the_same_make_it_once_and_always_the_same(samples_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelyard.ml.sample_models", "--into", str(tmp_path)]
    children = [programs.Popen(command, libraries=True, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    results = [json.loads(child.communicate(timeout=60)[0]) for child in children]
    assert sorted(len(result["made"]) for result in results) == [0, len(CATALOGUE)]
    assert max(result["seconds"] for result in results) < 30
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == sorted(s.folder for s in CATALOGUE)

    def commits(folder: Path) -> list[str]:
        source = SampleSource(folder)
        return [asyncio.run(source.get_repo(sample.repo_id, None)).commit for sample in CATALOGUE]

    first = commits(samples_folder)
    assert commits(tmp_path) == first
    with (tmp_path / "tiny-gpt2/README.md").open("a") as card:
        card.write("\nchanged\n")
    changed = commits(tmp_path)
    assert [old == new for old, new in zip(first, changed, strict=True)] == [True, False, True]


def test_a_sample_that_was_removed_is_not_remembered(samples_folder: Path, tmp_path: Path) -> None:
    for sample in CATALOGUE:
        (tmp_path / sample.folder).symlink_to(samples_folder / sample.folder)
    source = SampleSource(tmp_path, making_timeout_seconds=0.01)
    asyncio.run(source.get_repo(LLAMA, None))
    (tmp_path / "tiny-llama").unlink()
    with pytest.raises(RepoUnavailable):
        asyncio.run(source.get_repo(LLAMA, None))


def test_what_is_said_before_the_making_is_true_after_it(sample_hub: str) -> None:
    for sample in CATALOGUE:
        info = HfApi(endpoint=sample_hub, token=False).model_info(sample.repo_id)
        assert info.safetensors is not None
        assert info.safetensors.parameters == {sample.dtype: sample.num_parameters}
        assert info.config is not None
        assert info.config["model_type"] == sample.model_type
        assert info.pipeline_tag == "text-generation"
        assert info.card_data is not None
        assert info.card_data.license == "apache-2.0"
        assert info.card_data.tags == [SAMPLE_TAG]
        assert SAMPLE_TAG in (info.tags or [])


def test_one_is_sharded_and_sizes_are_as_announced(samples_folder: Path) -> None:
    sizes = {
        sample.folder: sum(f.stat().st_size for f in (samples_folder / sample.folder).iterdir()) for sample in CATALOGUE
    }
    assert 20e6 < sizes["tiny-llama"] < 30e6
    assert 5e6 < sizes["tiny-gpt2"] < 10e6
    assert 50e6 < sizes["tiny-qwen-moe"] < 60e6
    assert len(list((samples_folder / "tiny-qwen-moe").glob("*.safetensors"))) >= 3
    assert (samples_folder / "tiny-qwen-moe/model.safetensors.index.json").is_file()
    assert "random weights" in (samples_folder / "tiny-llama/README.md").read_text()


def test_a_killed_making_leaves_nothing_half_done_and_is_made_up_for(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelyard.ml.sample_models", "--into", str(tmp_path)]
    child = programs.Popen(command, libraries=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".making-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    for folder in (p for p in tmp_path.glob("tiny-*")):
        assert (folder / "README.md").is_file()  # written last
    repo = asyncio.run(SampleSource(tmp_path).get_repo("modelyard-samples/tiny-qwen-moe", None))
    assert len(repo.files) >= 9
    assert not list(tmp_path.glob(".making-*"))


def test_a_failed_making_is_a_clear_503_and_the_next_request_tries_again(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    folder.write_text("a file where the folder should be")
    with serve(create_hub_app([SampleSource(folder)], api_key=None)) as endpoint:
        api = HfApi(endpoint=endpoint, token=False)
        with pytest.raises(HfHubHTTPError, match="sample models could not be made") as caught:
            api.model_info(LLAMA)
        assert caught.value.response.status_code == 503
        assert caught.value.response.headers["X-Error-Message"].startswith("The sample models could not be made")
        assert len(list(api.list_models())) == len(CATALOGUE)
        assert not _makers()
        folder.unlink()
        assert api.model_info(LLAMA).sha


def test_a_full_disk_is_answered_as_one(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "samples") as disk,
        serve(create_hub_app([SampleSource(disk.folder)], api_key=None)) as endpoint,
    ):
        disk.fill()
        with pytest.raises(HfHubHTTPError) as caught:
            HfApi(endpoint=endpoint, token=False).model_info(LLAMA)
        assert caught.value.response.status_code == 507
        assert caught.value.response.headers["X-Error-Code"] == "disk_full"
        with (
            pytest.raises(DiskFull, match=re.escape(str(disk.folder))) as told,
            translate_hub_errors(endpoint, LLAMA, None, has_token=lambda: False, is_builtin=True),
        ):
            raise caught.value
        assert told.value.extra["folder"] == str(get_settings().samples_folder)
        disk.make_room()
        assert not list(disk.folder.glob("*/config.json")), "nothing half made"


def test_a_making_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    source = SampleSource(tmp_path, making_timeout_seconds=0.2)
    with pytest.raises(RepoUnavailable, match="longer than"):
        asyncio.run(source.get_repo(LLAMA, None))
    deadline = time.monotonic() + 30
    while _makers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _makers()


def test_only_the_catalogue_at_its_one_commit(samples_folder: Path) -> None:
    source = SampleSource(samples_folder)
    with pytest.raises(RepoNotFound):
        asyncio.run(source.get_repo("modelyard-samples/../tiny-llama", None))
    with pytest.raises(RepoRevisionNotFound):
        asyncio.run(source.get_repo(LLAMA, "v2"))
    repo = asyncio.run(source.get_repo(LLAMA, "main"))
    assert asyncio.run(source.get_repo(LLAMA, repo.commit)) == repo


def test_transformers_loads_every_sample_and_chats_with_one(sample_hub: str, tmp_path: Path) -> None:
    program = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
for repo_id in sys.argv[1:]:
    tokenizer = AutoTokenizer.from_pretrained(repo_id)
    model = AutoModelForCausalLM.from_pretrained(repo_id)
    text = "The list is sorted in place; naïve 你好 🙂"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    if tokenizer.chat_template:
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True,
                                               return_dict=True, return_tensors="pt")
    else:
        prompt = tokenizer(text, return_tensors="pt")
    made = model.generate(**prompt, max_new_tokens=4)
    assert made.shape[1] > prompt["input_ids"].shape[1]
    print(repo_id, type(model).__name__, model.dtype, bool(tokenizer.chat_template), tokenizer.vocab_size)
"""
    run = programs.run(
        [sys.executable, "-c", program, *(sample.repo_id for sample in CATALOGUE)],
        libraries=True,
        env={**_environment_without_hub(), "HF_ENDPOINT": sample_hub, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "modelyard-samples/tiny-llama LlamaForCausalLM torch.bfloat16 True 8192",
        "modelyard-samples/tiny-gpt2 GPT2LMHeadModel torch.float32 False 8192",
        "modelyard-samples/tiny-qwen-moe Qwen3MoeForCausalLM torch.bfloat16 True 8192",
    ]


def test_the_server_side_never_imports_torch(samples_folder: Path) -> None:
    program = """
import asyncio, sys
from importlib.util import find_spec
from pathlib import Path
from modelyard.hub.server.samples import SampleSource
from modelyard.hub.server.app import create_hub_app
from modelyard.hub.sources import RepoQuery
source = SampleSource(Path(sys.argv[1]))
create_hub_app([source], api_key=None)
assert asyncio.run(source.find(RepoQuery(), skip=0, limit=9, details=True)).total == 3
assert not {"torch", "transformers", "tokenizers", "safetensors", "numpy"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program, str(samples_folder)], check=True)


def test_the_samples_come_whole_through_snapshot_download(
    sample_hub: str, samples_folder: Path, tmp_path: Path
) -> None:
    for sample in CATALOGUE:
        local = Path(snapshot_download(sample.repo_id, endpoint=sample_hub, cache_dir=tmp_path, token=False))
        original = samples_folder / sample.folder
        assert {p.name: p.read_bytes() for p in local.iterdir()} == {p.name: p.read_bytes() for p in original.iterdir()}


def test_catalogue_and_recipes_name_the_same_samples() -> None:
    from modelyard.ml.sample_models import RECIPES

    assert [recipe.folder for recipe in RECIPES] == [sample.folder for sample in samples.CATALOGUE]


def _makers() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE and "modelyard.ml.sample_models" in process.cmdline()
    ]


def _environment_without_hub() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HF_")}


@pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")
def test_handlers_that_libraries_register_for_forks_do_not_stop_the_server(tmp_path: Path) -> None:
    """Such as one that waits for a lock which another thread holds; a forked child would never get it."""
    program = (
        "import os, sys, threading, uvloop\n"
        "from pathlib import Path\n"
        "from modelyard.hub.server.samples import CATALOGUE, SampleSource\n"
        "lock = threading.Lock()\n"
        "lock.acquire()\n"
        "os.register_at_fork(after_in_child=lock.acquire)\n"
        "print(uvloop.run(SampleSource(Path(sys.argv[1])).get_repo(CATALOGUE[0].repo_id, None)).commit)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert len(done.stdout.strip()) == 40, done.stderr
