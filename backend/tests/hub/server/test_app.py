"""The Hub endpoint, as the real huggingface_hub client and raw HTTP see it."""

import hashlib
import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from fastapi import FastAPI
from huggingface_hub import HfApi, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder
from pydantic import SecretStr
from sqlalchemy.orm import Session

from hub.hub_faults import HubFaults, serve
from modelyard.core.database import Database
from modelyard.hub.names import RemoteFile
from modelyard.hub.server import app as hub_server
from modelyard.hub.server.app import create_hub_app
from modelyard.hub.server.repositories import git_blob_sha1, git_tree_sha1
from modelyard.hub.server.samples import CATALOGUE, SampleSource
from modelyard.models import Model, ModelStatus
from modelyard.services.served_models import ServedModels

OLD = "1" * 40
NEW = "2" * 40
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LLAMA = "modelyard-samples/tiny-llama"
CARD = """---
license: mit
pipeline_tag: text-generation
tags: [stored-tag]
date: 2024-05-06
---
# A model
"""


def small(path: str, content: bytes) -> tuple[RemoteFile, bytes]:
    return RemoteFile(path, len(content), None, git_blob_sha1(content)), content


def large(path: str, content: bytes) -> tuple[RemoteFile, bytes]:
    return RemoteFile(path, len(content), hashlib.sha256(content).hexdigest(), None), content


def safetensors(tensors: Mapping[str, tuple[str, list[int], int]]) -> bytes:
    """A safetensors file of zeros: name to (dtype, shape, bytes)."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(offset)


@dataclass
class Store:
    """A Hugging Face cache and the rows of what is ready in it."""

    cache_dir: Path
    database: Database

    def add(
        self,
        model_id: str,
        commit: str,
        files: Sequence[tuple[RemoteFile, bytes]],
        *,
        revision: str = "main",
        age: timedelta = timedelta(),
        **more: Any,
    ) -> str:
        """Returns the row's id."""
        repo = self.cache_dir / f"models--{model_id.replace('/', '--')}"
        for file, content in files:
            blob = repo / "blobs" / file.blob
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(content)
            name = repo / "snapshots" / commit / file.path
            name.parent.mkdir(parents=True, exist_ok=True)
            name.unlink(missing_ok=True)
            name.symlink_to(blob)
        return self.add_row(model_id, commit, [file for file, _ in files], revision=revision, age=age, **more)

    def add_row(self, model_id: str, commit: str, files: Sequence[RemoteFile], **more: Any) -> str:
        age = more.pop("age", timedelta())
        fields = {"canonical_id": model_id, "revision": "main", "status": ModelStatus.READY} | more
        with self.database.session() as session:
            row = Model(
                model_id=model_id,
                endpoint="https://huggingface.co",
                commit=commit,
                files=[vars(file) | {"present_before": False} for file in files],
                updated_at=NOW - age,
                **fields,
            )
            session.add(row)
            session.flush()
            return row.id

    def set(self, row_id: str, **fields: Any) -> None:
        with self.database.session() as session:
            row = session.get_one(Model, row_id)
            for name, value in fields.items():
                setattr(row, name, value)

    def source(self) -> ServedModels:
        return ServedModels(self.database, self.cache_dir)


WEIGHTS = safetensors({"a.weight": ("BF16", [3, 4], 24), "b.weight": ("F32", [5], 20)})
FILES = [
    small("config.json", b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}'),
    small("README.md", CARD.encode()),
    small("sub/deep er/\xe4.txt".encode().decode(), b"deep"),
    small("sub/a.txt", b"a"),
    small("empty.txt", b""),
    large("model.safetensors", WEIGHTS),
]


@pytest.fixture
def store(tmp_path: Path, database: Database) -> Store:
    store = Store(tmp_path / "cache", database)
    store.add("org/model", NEW, FILES)
    return store


@pytest.fixture
def endpoint(store: Store) -> Iterator[str]:
    with serve(create_hub_app([store.source()], api_key=None)) as endpoint:
        yield endpoint


@pytest.fixture
def api(endpoint: str) -> HfApi:
    return HfApi(endpoint=endpoint, token=False)


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def fetch(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    """Plain HTTP, nothing normalized on the way."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    path = url.split(parts.netloc, 1)[1]
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    response = connection.getresponse()
    answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    connection.close()
    return answer


class TestRepositories:
    def test_model_info(self, api: HfApi) -> None:
        info = api.model_info("org/model", files_metadata=True, securityStatus=True)
        assert (info.id, info.author, info.sha) == ("org/model", "org", NEW)
        assert info.last_modified == NOW
        assert info.gated is False
        assert info.private is False
        assert (info.pipeline_tag, info.library_name) == ("text-generation", "transformers")
        assert info.tags == ["transformers", "safetensors", "llama", "text-generation", "stored-tag", "license:mit"]
        assert info.config is not None
        assert info.config["architectures"] == ["LlamaForCausalLM"]
        assert info.card_data is not None
        assert info.card_data.license == "mit"
        assert info.card_data.get("date") == "2024-05-06"
        assert info.safetensors is not None
        assert (info.safetensors.parameters, info.safetensors.total) == ({"BF16": 12, "F32": 5}, 17)
        assert info.used_storage == sum(len(content) for _, content in FILES)
        assert info.security_repo_status == {"scansDone": False, "filesWithIssues": []}
        assert info.transformers_info is not None
        assert info.transformers_info.auto_model == "AutoModelForCausalLM"
        siblings = {s.rfilename: s for s in info.siblings or []}
        assert set(siblings) == {file.path for file, _ in FILES}
        weights, config = siblings["model.safetensors"], siblings["config.json"]
        assert weights.lfs is not None
        assert (weights.lfs.sha256, weights.lfs.size) == (hashlib.sha256(WEIGHTS).hexdigest(), len(WEIGHTS))
        assert config.lfs is None
        assert config.blob_id == git_blob_sha1(FILES[0][1])

    def test_an_adapter_is_told_by_its_files(self, api: HfApi, store: Store) -> None:
        config = b'{"peft_type": "LORA", "base_model_name_or_path": "org/model"}'
        files = [small("adapter_config.json", config), large("adapter_model.safetensors", WEIGHTS)]
        store.add("org/adapter", OLD, files)
        info = api.model_info("org/adapter")
        assert info.library_name == "peft"
        assert info.tags == ["peft", "base_model:org/model", "base_model:adapter:org/model"]
        assert [model.id for model in api.list_models(filter="base_model:adapter:org/model")] == ["org/adapter"]
        assert (info.pipeline_tag, info.transformers_info) == (None, None)
        writes = small("adapter_config.json", config.replace(b"}", b', "task_type": "CAUSAL_LM"}'))
        store.add("org/writer", OLD, [writes, files[1]])
        info = api.model_info("org/writer")
        assert (info.pipeline_tag, info.transformers_info) == ("text-generation", None)
        store.add("org/both", OLD, [*FILES, *files])
        assert api.model_info("org/both").library_name == "transformers"

    def test_without_blobs_only_names(self, api: HfApi) -> None:
        siblings = api.model_info("org/model").siblings or []
        assert siblings
        assert all(s.size is None and s.lfs is None for s in siblings)

    def test_expand_gives_just_what_was_asked_for(self, api: HfApi, endpoint: str) -> None:
        info = api.model_info("org/model", expand=["safetensors", "usedStorage", "gguf", "trendingScore"])
        assert info.safetensors is not None
        assert info.safetensors.total == 17
        assert info.gguf is None
        assert info.sha is None
        answer = json.loads(fetch(f"{endpoint}/api/models/org/model?expand=sha").body)
        assert set(answer) == {"_id", "id", "modelId", "sha"}
        with pytest.raises(BadRequestError, match="no-such-thing"):
            api.model_info("org/model", expand=["no-such-thing"])  # type: ignore[list-item]

    def test_revisions(self, store: Store, api: HfApi) -> None:
        store.add("org/model", OLD, FILES[:2], revision="refs/pr/7", age=timedelta(days=2))
        for revision, commit in ((None, NEW), ("main", NEW), (NEW, NEW), ("refs/pr/7", OLD), (OLD, OLD)):
            assert api.model_info("org/model", revision=revision).sha == commit
        with pytest.raises(RevisionNotFoundError):
            api.model_info("org/model", revision="v9")
        with pytest.raises(RevisionNotFoundError):
            api.model_info("org/model", revision="../../x")

    def test_the_default_branch_is_main_else_the_newest(self, store: Store, api: HfApi) -> None:
        store.add("org/pinned", OLD, FILES[:1], revision="v1", age=timedelta(days=2))
        assert api.model_info("org/pinned").sha == OLD
        store.add("org/pinned", NEW, FILES[:1], revision="v2")
        assert api.model_info("org/pinned").sha == NEW
        store.add("org/pinned", "3" * 40, FILES[:1], revision="main", age=timedelta(days=9))
        assert api.model_info("org/pinned").sha == "3" * 40

    def test_refs_and_commits(self, store: Store, api: HfApi) -> None:
        store.add("org/model", OLD, FILES[:2], revision="refs/pr/7", age=timedelta(days=2))
        store.add("org/model", "3" * 40, FILES[:2], revision="v1", age=timedelta(days=3))
        store.add("org/model", "4" * 40, FILES[:2], revision="4" * 40, age=timedelta(days=4))
        refs = api.list_repo_refs("org/model", include_pull_requests=True)
        assert {(b.name, b.ref, b.target_commit) for b in refs.branches} == {
            ("main", "refs/heads/main", NEW),
            ("v1", "refs/heads/v1", "3" * 40),
        }
        assert [(p.ref, p.target_commit) for p in refs.pull_requests or []] == [("refs/pr/7", OLD)]
        assert api.list_repo_refs("org/model").pull_requests is None
        (commit,) = api.list_repo_commits("org/model")
        assert (commit.commit_id, commit.created_at) == (NEW, NOW)

    def test_bare_names_and_their_canonical_ones(self, store: Store, api: HfApi, endpoint: str, tmp_path: Path) -> None:
        store.add("gpt2", OLD, FILES, canonical_id="openai-community/gpt2")
        for name in ("gpt2", "openai-community/gpt2"):
            info = api.model_info(name)
            assert (info.id, info.sha) == ("openai-community/gpt2", OLD)
            path = hf_hub_download(name, "config.json", endpoint=endpoint, cache_dir=tmp_path / "c", token=False)
            assert Path(path).read_bytes() == FILES[0][1]
            assert api.file_exists(name, "sub/a.txt")
            assert [b.name for b in api.list_repo_refs(name).branches] == ["main"]
            assert len(list(api.list_repo_tree(name, recursive=True))) == len(FILES) + 2
            assert len(api.get_paths_info(name, ["config.json"])) == 1
        assert [m.id for m in api.list_models(search="gpt2")] == ["openai-community/gpt2"]

    def test_missing_repositories_and_other_kinds(self, api: HfApi, endpoint: str) -> None:
        for call in (
            lambda: api.model_info("org/none"),
            lambda: list(api.list_repo_tree("org/none")),
            lambda: api.get_paths_info("org/none", ["x"]),
            lambda: api.list_repo_refs("org/none"),
            lambda: api.auth_check("org/none"),
            lambda: api.dataset_info("org/model"),
            lambda: hf_hub_download("org/model", "x", repo_type="dataset", endpoint=endpoint, token=False),
        ):
            with pytest.raises(RepositoryNotFoundError):
                call()
        assert list(api.list_datasets(search="org")) == []
        assert api.repo_exists("org/model")
        assert not api.repo_exists("org/none")
        api.auth_check("org/model")

    def test_gated_is_shown(self, store: Store, api: HfApi) -> None:
        store.add("org/gated", OLD, FILES, gated=True)
        assert api.model_info("org/gated").gated == "manual"
        assert [m.id for m in api.list_models(gated=True)] == ["org/gated"]
        assert [m.id for m in api.list_models(gated=False)] == ["org/model"]

    def test_what_becomes_ready_is_there_at_once(self, store: Store, api: HfApi) -> None:
        assert not api.repo_exists("org/new")
        store.add("org/new", OLD, FILES)
        assert api.repo_exists("org/new")
        store.add("org/new", NEW, FILES, revision="v2")
        assert api.revision_exists("org/new", "v2")

    def test_telemetry_and_unknown_addresses(self, endpoint: str) -> None:
        for method, path in (
            ("HEAD", "/api/telemetry/examples"),
            ("GET", "/api/agent-harnesses"),
            ("GET", "/api/quicksearch?q=a"),
            ("GET", "/"),
            ("GET", "/org/model"),
            ("POST", "/api/models/org/model"),
            ("GET", "/api/models/org/model/paths-info/main"),
            ("GET", "/api/models/a/b/c/d"),
        ):
            answer = fetch(endpoint + path, method)
            assert answer.status == 404, path
            assert answer.headers["x-error-message"]

    def test_a_damaged_description_hides_nothing_else(self, store: Store, api: HfApi) -> None:
        hostile = "---\n" + "a: &a [x,x,x,x,x,x,x,x,x]\nb: [*a,*a,*a,*a,*a,*a]\n" + "---\n"
        weights = large("model.safetensors", b"\xff" * 64)
        files = [
            small("config.json", b'{"model_type": "\\ud800", "architectures": 3}'),
            small("README.md", hostile.encode()),
            weights,
        ]
        store.add("org/odd", OLD, files)
        info = api.model_info("org/odd", files_metadata=True)
        assert info.sha == OLD
        assert info.safetensors is None
        assert info.card_data is None
        assert {m.id for m in api.list_models(full=True, fetch_config=True, cardData=True)} == {"org/model", "org/odd"}

    def test_numbers_that_json_does_not_have(self, store: Store, api: HfApi) -> None:
        config = b'{"model_type": "x", "quantization_config": {"most": Infinity}}'
        store.add("org/nan", OLD, [small("config.json", config), small("README.md", b"---\nvalue: .nan\n---\n")])
        config_seen = api.model_info("org/nan").config or {}
        assert config_seen["quantization_config"] == {"most": "Infinity"}
        store.add("org/no-number", OLD, [small("config.json", b'{"model_type": "x", "scale": NaN}')])
        assert api.model_info("org/no-number").config is None


class TestSearch:
    @pytest.fixture
    def many(self, store: Store) -> Store:
        for number in range(25):
            card = f"---\npipeline_tag: {'text-generation' if number % 2 else 'fill-mask'}\nlicense: mit\n---\n"
            store.add(
                f"crowd/Model-{number:02}", OLD, [small("README.md", card.encode())], age=timedelta(days=number + 1)
            )
        return store

    @pytest.mark.usefixtures("many")
    def test_search_author_filter_and_task(self, api: HfApi) -> None:
        assert [m.id for m in api.list_models(search="model-0")] == [f"crowd/Model-0{n}" for n in range(10)]
        assert [m.id for m in api.list_models(search="CROWD 07")] == ["crowd/Model-07"]
        assert [m.id for m in api.list_models(author="org")] == ["org/model"]
        assert len(list(api.list_models(author="crowd", pipeline_tag="fill-mask"))) == 13
        assert len(list(api.list_models(filter=["license:mit", "fill-mask"]))) == 13
        assert not list(api.list_models(filter="no-such-tag"))
        assert not list(api.list_models(search="zzz"))

    def test_number_of_parameters(self, store: Store, api: HfApi) -> None:
        weights = safetensors({"w.weight": ("F32", [25, 40], 4000)})
        store.add("org/thousand", OLD, [large("model.safetensors", weights)], age=timedelta(days=1))
        store.add("org/unknown", OLD, [small("README.md", CARD.encode())], age=timedelta(days=2))
        assert [m.id for m in api.list_models()] == ["org/model", "org/thousand", "org/unknown"]
        for asked, found in {
            "min:17": ["org/model", "org/thousand"],  # its weights have 17 elements
            "min:18": ["org/thousand"],
            "max:17": ["org/model"],
            "max:1K": ["org/model", "org/thousand"],
            "min:0.018K,max:0.001M": ["org/thousand"],
            "max:999999999999999999T": ["org/model", "org/thousand"],
            "min:1B": [],
        }.items():
            assert [m.id for m in api.list_models(num_parameters=asked)] == found, asked
        assert not list(api.list_models(num_parameters="min:18", filter="license:mit"))

    def test_a_header_of_more_parameters_than_a_database_can_store(self, store: Store, api: HfApi) -> None:
        header = json.dumps({"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 0]}}).encode()
        weights = len(header).to_bytes(8, "little") + header
        store.add("org/endless", OLD, [large("model.safetensors", weights)], age=timedelta(days=1))
        assert [m.id for m in api.list_models()] == ["org/model", "org/endless"]
        assert [m.id for m in api.list_models(num_parameters="min:0")] == ["org/model"]

    @pytest.mark.usefixtures("many")
    def test_newest_first_whatever_the_order(self, api: HfApi) -> None:
        for sort in (None, "downloads", "last_modified", "likes", "trending_score", "created_at"):
            assert [m.id for m in api.list_models(sort=sort, limit=2)] == ["org/model", "crowd/Model-00"]  # type: ignore[arg-type]

    @pytest.mark.usefixtures("many")
    def test_pages_are_linked_under_the_address_the_client_used(
        self, api: HfApi, endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub_server, "LIST_PAGE_SIZE", 10)
        assert len({m.id for m in api.list_models()}) == 26
        assert len(list(api.list_models(limit=17))) == 17
        answer = fetch(f"{endpoint}/api/models?author=crowd&filter=license%3Amit", Host="hub.example:8443")
        link = answer.headers["link"]
        assert link.startswith("<http://hub.example:8443/hub/api/models?author=crowd&filter=license%3Amit&cursor=10>")
        assert link.endswith('rel="next"')

    @pytest.mark.usefixtures("many")
    def test_what_a_listing_tells(self, api: HfApi) -> None:
        (plain,) = api.list_models(author="org")
        assert plain.sha is None
        assert plain.config is None
        assert plain.siblings is None
        (full,) = api.list_models(author="org", full=True, fetch_config=True, cardData=True)
        assert full.sha == NEW
        assert {s.rfilename for s in full.siblings or []} == {file.path for file, _ in FILES}
        assert full.config is not None
        assert full.card_data is not None
        (expanded,) = api.list_models(author="org", expand=["usedStorage", "gated", "downloads"])
        assert expanded.used_storage == sum(len(content) for _, content in FILES)
        assert expanded.tags is None

    def test_what_cannot_be_judged_is_refused(self, api: HfApi, endpoint: str) -> None:
        with pytest.raises(BadRequestError, match="apps"):
            list(api.list_models(apps="vllm"))
        with pytest.raises(BadRequestError, match="min:6B,max:128B"):
            list(api.list_models(num_parameters="6B"))
        for query in ("limit=many", "sort=beauty", "expand=nothing", "cursor=-1", "num_parameters="):
            assert fetch(f"{endpoint}/api/models?{query}").status == 400
        assert fetch(f"{endpoint}/api/models?limit=0").status == 200
        assert fetch(f"{endpoint}/api/models?limit=99999999999999999999").status == 200


class TestTree:
    def test_recursive(self, api: HfApi) -> None:
        entries = {e.path: e for e in api.list_repo_tree("org/model", recursive=True)}
        assert set(entries) == {file.path for file, _ in FILES} | {"sub", "sub/deep er"}
        weights, config, folder = entries["model.safetensors"], entries["config.json"], entries["sub"]
        assert isinstance(weights, RepoFile)
        assert weights.lfs is not None
        assert weights.lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
        assert weights.xet_hash is None
        assert isinstance(config, RepoFile)
        assert (config.blob_id, config.size, config.lfs) == (git_blob_sha1(FILES[0][1]), len(FILES[0][1]), None)
        assert isinstance(folder, RepoFolder)

    def test_one_level_and_subfolders(self, api: HfApi) -> None:
        assert {e.path for e in api.list_repo_tree("org/model")} == {
            "README.md", "config.json", "empty.txt", "model.safetensors", "sub",
        }  # fmt: skip
        assert {e.path for e in api.list_repo_tree("org/model", "sub")} == {"sub/a.txt", "sub/deep er"}
        assert {e.path for e in api.list_repo_tree("org/model", "sub/deep er")} == {"sub/deep er/ä.txt"}
        with pytest.raises(EntryNotFoundError):
            list(api.list_repo_tree("org/model", "su"))
        with pytest.raises(EntryNotFoundError):
            list(api.list_repo_tree("org/model", "../org"))

    def test_expand_tells_the_last_commit(self, api: HfApi) -> None:
        for entry in api.list_repo_tree("org/model", recursive=True, expand=True):
            assert entry.last_commit is not None
            assert (entry.last_commit.oid, entry.last_commit.date) == (NEW, NOW)

    def test_pages(self, api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub_server, "TREE_PAGE_SIZE", 3)
        entries = [e.path for e in api.list_repo_tree("org/model", recursive=True)]
        assert len(entries) == len(set(entries)) == len(FILES) + 2

    def test_a_revision_with_a_slash(self, store: Store, api: HfApi, endpoint: str, tmp_path: Path) -> None:
        store.add("org/model", OLD, FILES, revision="refs/pr/7", age=timedelta(days=2))
        assert {e.path for e in api.list_repo_tree("org/model", "sub/deep er", revision="refs/pr/7")} == {
            "sub/deep er/ä.txt"
        }
        assert len(api.get_paths_info("org/model", ["sub/a.txt"], revision="refs/pr/7")) == 1
        path = hf_hub_download(
            "org/model", "sub/deep er/ä.txt", revision="refs/pr/7", endpoint=endpoint, cache_dir=tmp_path, token=False
        )
        assert Path(path).read_bytes() == b"deep"
        assert OLD in path

    def test_paths_info(self, api: HfApi, endpoint: str) -> None:
        infos = {
            i.path: i
            for i in api.get_paths_info("org/model", ["sub", "sub/a.txt", "none", "sub/deep er/ä.txt"], expand=True)
        }
        assert set(infos) == {"sub", "sub/a.txt", "sub/deep er/ä.txt"}
        assert isinstance(infos["sub"], RepoFolder)
        assert infos["sub/a.txt"].last_commit is not None
        url = f"{endpoint}/api/models/org/model/paths-info/main"
        sent = json.dumps({"paths": ["sub/a.txt"]}).encode()
        answer = fetch(url, "POST", sent, Content_Type="application/json")
        assert [e["path"] for e in json.loads(answer.body)] == ["sub/a.txt"]
        for bad in (b"{", b"[]", b'{"paths": "x"}', b'{"paths": [1]}', b"\xff"):
            assert fetch(url, "POST", bad, Content_Type="application/json").status == 400
        assert fetch(url, "POST", b"paths=" + b"x" * 5_000_000, Content_Type="x").status == 413

    def test_folder_hashes_are_gits(self, tmp_path: Path) -> None:
        content = {"a/b/c": b"x\n", "a.txt": b"y\n", "a0": b"z\n"}
        for name, text in content.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(text)

        def git(*arguments: str) -> str:
            return subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

        git("init", "-q")
        git("add", "-A")
        assert git("write-tree").strip() == git_tree_sha1({n: git_blob_sha1(t) for n, t in content.items()})


class TestFiles:
    def url(self, endpoint: str, path: str = "model.safetensors") -> str:
        return hf_hub_url("org/model", path, endpoint=endpoint)

    def test_head_and_get(self, endpoint: str) -> None:
        etag = f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
        for method, body in (("HEAD", b""), ("GET", WEIGHTS)):
            answer = fetch(self.url(endpoint), method)
            assert (answer.status, answer.body) == (200, body)
            assert answer.headers["content-length"] == str(len(WEIGHTS))
            assert answer.headers["x-repo-commit"] == NEW
            assert answer.headers["etag"] == answer.headers["x-linked-etag"] == etag
            assert answer.headers["x-linked-size"] == str(len(WEIGHTS))
            assert answer.headers["accept-ranges"] == "bytes"
            assert 'filename="model.safetensors";' in answer.headers["content-disposition"]
            assert not [name for name in answer.headers if "xet" in name]
        small_file = fetch(self.url(endpoint, "config.json"))
        assert small_file.headers["etag"] == f'"{git_blob_sha1(FILES[0][1])}"'
        assert "x-linked-etag" not in small_file.headers
        assert small_file.headers["x-content-type-options"] == "nosniff"
        assert small_file.headers["content-disposition"].startswith("attachment")
        empty = fetch(self.url(endpoint, "empty.txt"))
        assert (empty.status, empty.headers["content-length"], empty.body) == (200, "0", b"")

    @pytest.mark.parametrize(
        ("asked", "status", "expected"),
        [
            ("bytes=0-", 206, (0, None)),
            ("bytes=10-19", 206, (10, 20)),
            ("bytes=10-10", 206, (10, 11)),
            ("bytes= 5 - 7", 206, (5, 8)),
            ("bytes=100-999999", 206, (100, None)),
            ("bytes=-7", 206, (-7, None)),
            ("bytes=-999999", 206, (0, None)),
            (f"bytes={len(WEIGHTS) - 1}-", 206, (-1, None)),
            (f"bytes={len(WEIGHTS)}-", 416, None),
            ("bytes=999999-", 416, None),
            ("bytes=-0", 416, None),
            ("bytes=9-3", 200, (0, None)),
            ("bytes=-", 200, (0, None)),
            ("bytes=a-b", 200, (0, None)),
            ("bytes=0-1,4-5", 200, (0, None)),
            ("items=0-1", 200, (0, None)),
            ("bytes=0-" + "9" * 30, 200, (0, None)),
        ],
    )
    def test_ranges(self, endpoint: str, asked: str, status: int, expected: tuple[int, int | None] | None) -> None:
        answer = fetch(self.url(endpoint), Range=asked)
        assert answer.status == status
        if expected is None:
            assert answer.headers["content-range"] == f"bytes */{len(WEIGHTS)}"
            return
        body = WEIGHTS[slice(*expected)]
        assert answer.body == body
        assert answer.headers["content-length"] == str(len(body))
        if status == 206:
            start = len(WEIGHTS) + expected[0] if expected[0] < 0 else expected[0]
            assert answer.headers["content-range"] == f"bytes {start}-{start + len(body) - 1}/{len(WEIGHTS)}"

    def test_range_of_an_empty_file_and_on_head(self, endpoint: str) -> None:
        assert fetch(self.url(endpoint, "empty.txt"), Range="bytes=0-").status == 416
        assert fetch(self.url(endpoint), "HEAD", Range="bytes=1-2").headers["content-length"] == str(len(WEIGHTS))

    def test_if_none_match_and_if_range(self, endpoint: str) -> None:
        etag = f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
        for given in (etag, f'"x", W/{etag}'):
            answer = fetch(self.url(endpoint), If_None_Match=given)
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
        assert fetch(self.url(endpoint), If_None_Match='"x"').status == 200
        assert fetch(self.url(endpoint), Range="bytes=1-2", If_Range=etag).status == 206
        assert fetch(self.url(endpoint), Range="bytes=1-2", If_Range='"other"').status == 200
        assert fetch(self.url(endpoint), Range="bytes=1-2", If_Range="Mon, 01 Jan 2024 00:00:00 GMT").status == 200

    def test_missing_entries(self, api: HfApi, endpoint: str, tmp_path: Path) -> None:
        with pytest.raises(RemoteEntryNotFoundError):
            hf_hub_download("org/model", "none.json", endpoint=endpoint, cache_dir=tmp_path, token=False)
        with pytest.raises(RevisionNotFoundError):
            hf_hub_download(
                "org/model", "config.json", revision="v9", endpoint=endpoint, cache_dir=tmp_path, token=False
            )
        assert not api.file_exists("org/model", "sub")

    def test_snapshot_download_keeps_upstreams_commit_and_etags(self, endpoint: str, tmp_path: Path) -> None:
        local = Path(snapshot_download("org/model", endpoint=endpoint, cache_dir=tmp_path / "c", token=False))
        assert local.name == NEW
        for file, content in FILES:
            assert (local / file.path).read_bytes() == content
            assert (local / file.path).resolve().name == (file.sha256 or file.git_sha1)

    def test_safetensors_metadata(self, api: HfApi) -> None:
        assert api.get_safetensors_metadata("org/model").parameter_count == {"BF16": 12, "F32": 5}

    def test_only_files_of_the_manifest(self, store: Store, endpoint: str) -> None:
        folder = store.cache_dir / "models--org--model/snapshots" / NEW
        (folder / "secret.txt").write_text("not verified")
        assert fetch(self.url(endpoint, "secret.txt")).status == 404

    def test_nothing_outside_is_reachable(self, store: Store, endpoint: str) -> None:
        (store.cache_dir / "token").write_text("hf_secret")
        for path in (
            "/org/model/resolve/main/../../../token",
            "/org/model/resolve/main/..%2f..%2f..%2f..%2ftoken",
            "/org/model/resolve/main/%2e%2e/%2e%2e/%2e%2e/%2e%2e/token",
            "/org/model/resolve/main/%2Fetc%2Fpasswd",
            "/org/model/resolve/main//etc/passwd",
            "/org/model/resolve/main/..%5c..%5ctoken",
            "/org/model/resolve/..%2f..%2f..%2f..%2ftoken/config.json",
            "/org/model/resolve/main/config.json%00.txt",
            "/..%2f..%2fetc/resolve/main/passwd",
            "/org/../model/resolve/main/config.json",
            "/org/model/resolve/main/sub/../config.json",
            "/org/model/resolve/main/./config.json",
            "/../hub/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/api/models/..%2f..%2fetc",
            "/api/models/org/model/tree/main/..%2f..",
        ):
            answer = fetch(endpoint + path)
            assert answer.status == 404, path
            assert b"hf_secret" not in answer.body
            assert b"root:" not in answer.body

    @pytest.mark.parametrize(
        "bad",
        [
            {"model_id": "../x"},
            {"model_id": "a/b/c"},
            {"canonical_id": "../x"},
            {"commit": "main"},
            {"commit": f"../{NEW}"},
            *(
                {"files": [RemoteFile(path, 9, None, "0" * 40)]}
                for path in ("../token", "/etc/passwd", "a\\b", "a\x1bb", "")
            ),
            {"files": [RemoteFile("token", 9, None, None)]},
            {"files": [RemoteFile("token", -1, None, "0" * 40)]},
            {"files": []},
        ],
    )
    def test_a_snapshot_with_unsafe_names_is_not_served(self, store: Store, api: HfApi, bad: dict[str, Any]) -> None:
        (store.cache_dir / "models--org--model/snapshots/token").write_text("hf_secret")
        files = [file for file, _ in FILES]
        store.add_row(**{"model_id": "org/bad", "commit": NEW, "files": files, **bad})
        assert [model.id for model in api.list_models()] == ["org/model"]
        assert not api.repo_exists("org/bad")
        assert api.model_info("org/model").sha == NEW

    def test_a_damaged_copy_is_not_passed_on(self, store: Store, endpoint: str, tmp_path: Path) -> None:
        blob = store.cache_dir / "models--org--model/blobs" / hashlib.sha256(WEIGHTS).hexdigest()
        blob.write_bytes(WEIGHTS[:-1])
        for method in ("HEAD", "GET"):
            answer = fetch(self.url(endpoint), method)
            assert answer.status == 410
            assert "missing or damaged" in answer.headers["x-error-message"]
        blob.unlink()
        assert fetch(self.url(endpoint)).status == 410
        with pytest.raises((HfHubHTTPError, LocalEntryNotFoundError)):
            hf_hub_download("org/model", "model.safetensors", endpoint=endpoint, cache_dir=tmp_path, token=False)

    def test_a_file_is_closed_when_the_client_goes_away(self, store: Store, endpoint: str) -> None:
        content = bytes(64_000_000)
        store.add("org/big", OLD, [large("big.bin", content)])
        parts = urlsplit(endpoint)
        connection = http.client.HTTPConnection(parts.netloc)
        connection.request("GET", f"{parts.path}/org/big/resolve/main/big.bin")
        response = connection.getresponse()
        assert len(response.read(100_000)) == 100_000
        blob = hashlib.sha256(content).hexdigest()

        def is_open() -> bool:
            return any(blob in file.path for file in psutil.Process().open_files())

        assert is_open()
        response.close()
        connection.close()
        deadline = time.monotonic() + 30
        while is_open() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not is_open()

    def test_a_file_that_shrinks_while_it_is_sent_ends_in_an_error(self, store: Store, endpoint: str) -> None:
        content = bytes(64_000_000)
        store.add("org/big", OLD, [large("big.bin", content)])
        parts = urlsplit(endpoint)
        connection = http.client.HTTPConnection(parts.netloc)
        connection.request("GET", f"{parts.path}/org/big/resolve/main/big.bin")
        response = connection.getresponse()
        response.read(100_000)
        (store.cache_dir / "models--org--big/blobs" / hashlib.sha256(content).hexdigest()).write_bytes(b"")
        with pytest.raises(http.client.IncompleteRead):
            response.read()


class TestKey:
    @pytest.fixture
    def locked(self, store: Store) -> Iterator[str]:
        with serve(create_hub_app([store.source()], api_key=SecretStr("s3cret"))) as endpoint:
            yield endpoint

    def test_everything_needs_the_key(self, locked: str) -> None:
        wrong: tuple[dict[str, Any], ...] = (
            {},
            {"Authorization": "Bearer no"},
            {"Authorization": "Basic s3cret"},
            {"Authorization": "s3cret"},
        )
        for path in (
            "/api/models",
            "/api/models/org/model",
            "/org/model/resolve/main/config.json",
            "/api/whoami-v2",
            "/x",
        ):
            for headers in wrong:
                answer = fetch(locked + path, **headers)
                assert answer.status == 401
                assert answer.headers["x-error-message"] == "Invalid credentials in Authorization header"
                assert b"s3cret" not in answer.body
            assert fetch(locked + path, Authorization="Bearer s3cret").status in (200, 404)

    def test_the_client_says_so(self, locked: str, tmp_path: Path) -> None:
        for token in (False, "wrong"):
            api = HfApi(endpoint=locked, token=token)
            with pytest.raises(HfHubHTTPError, match="Invalid credentials") as caught:
                api.model_info("org/model")
            assert not isinstance(caught.value, RepositoryNotFoundError)
            with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
                hf_hub_download("org/model", "config.json", endpoint=locked, cache_dir=tmp_path, token=token)

    def test_the_key_opens_it(self, locked: str, tmp_path: Path) -> None:
        api = HfApi(endpoint=locked, token="s3cret")
        assert api.whoami()["name"] == "modelyard"
        assert snapshot_download("org/model", endpoint=locked, cache_dir=tmp_path, token="s3cret").endswith(NEW)

    def test_without_a_key_any_token_is_good(self, endpoint: str) -> None:
        api = HfApi(endpoint=endpoint, token="hf_whatever")
        assert api.whoami()["name"] == "modelyard"
        assert api.model_info("org/model").sha == NEW
        assert fetch(f"{endpoint}/api/whoami-v2").status == 401


class TestSeveralSources:
    def test_the_store_comes_first_and_samples_last(self, store: Store, samples_folder: Path) -> None:
        store.add(LLAMA, OLD, FILES[:1])
        app = create_hub_app([store.source(), SampleSource(samples_folder)], api_key=None)
        with serve(app) as endpoint:
            api = HfApi(endpoint=endpoint, token=False)
            listed = [m.id for m in api.list_models()]
            assert sorted(listed) == sorted({"org/model", LLAMA, *(sample.repo_id for sample in CATALOGUE)})
            assert listed[2:] == ["modelyard-samples/tiny-gpt2", "modelyard-samples/tiny-qwen-moe"]
            assert api.model_info(LLAMA).sha == OLD
            sample = api.model_info("modelyard-samples/tiny-gpt2")
            assert sample.sha is not None
            with pytest.raises(RevisionNotFoundError):
                api.model_info("modelyard-samples/tiny-gpt2", revision="v9")

    def test_an_endpoint_without_a_prefix(self, store: Store, tmp_path: Path) -> None:
        with serve(create_hub_app([store.source()], api_key=None), prefix="") as endpoint:
            assert snapshot_download("org/model", endpoint=endpoint, cache_dir=tmp_path, token=False).endswith(NEW)

    def test_a_snapshot_of_a_snapshot(self, sample_hub: str, database: Database, tmp_path: Path) -> None:
        """What was fetched from one Hub and is served by another is the same to a client."""
        repo_id = "modelyard-samples/tiny-qwen-moe"
        first = HfApi(endpoint=sample_hub, token=False).model_info(repo_id, files_metadata=True)
        cache = tmp_path / "cache"
        original = Path(snapshot_download(repo_id, endpoint=sample_hub, cache_dir=cache, token=False))
        files = tuple(
            RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None, None if s.lfs else s.blob_id)
            for s in first.siblings or []
        )
        store = Store(cache, database)
        store.add_row(repo_id, first.sha or "", files)
        with serve(create_hub_app([store.source()], api_key=None)) as endpoint:
            second = HfApi(endpoint=endpoint, token=False).model_info(repo_id, files_metadata=True)
            assert (second.sha, second.siblings) == (first.sha, first.siblings)
            assert (second.config, second.card_data, second.safetensors) == (
                first.config,
                first.card_data,
                first.safetensors,
            )
            copy = Path(snapshot_download(repo_id, endpoint=endpoint, cache_dir=tmp_path / "copy", token=False))
            assert {p.name: p.read_bytes() for p in copy.iterdir()} == {
                p.name: p.read_bytes() for p in original.iterdir()
            }


def test_it_answers_while_all_threads_of_the_rest_api_wait_for_it(store: Store) -> None:
    """An instance may be its own Hub: synchronous endpoints call it from the shared thread pool."""
    app = FastAPI()
    app.mount("/hub", create_hub_app([store.source()], api_key=None))
    together = threading.Barrier(40, timeout=20)
    address: list[str] = []

    @app.get("/ask")
    def ask() -> str | None:
        together.wait()  # all 40 threads of the pool are taken
        path = hf_hub_download(
            "org/model", "config.json", endpoint=address[0], cache_dir=store.cache_dir / "x", token=False
        )
        return HfApi(endpoint=address[0], token=False).model_info("org/model").sha if path else None

    with serve(app, prefix="/root") as root, ThreadPoolExecutor(40) as pool:
        address.append(f"{root}/hub")
        assert {a.body for a in pool.map(lambda _: fetch(f"{root}/ask"), range(40))} == {f'"{NEW}"'.encode()}


def test_what_holds_up_a_source_holds_up_nothing_else(store: Store) -> None:
    entered, release = threading.Event(), threading.Event()

    class SlowDatabase(Database):
        @contextmanager
        def reading(self) -> Iterator[Session]:
            entered.set()
            release.wait(60)
            with store.database.reading() as session:
                yield session

    slow = SlowDatabase(store.database.engine.url.render_as_string(hide_password=False))
    app = FastAPI()
    app.mount("/slow", create_hub_app([ServedModels(slow, store.cache_dir)], api_key=None))
    app.mount("/hub", create_hub_app([store.source()], api_key=None))
    with serve(app, prefix="/r") as root, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(fetch, f"{root}/slow/api/models/org/model")
        assert entered.wait(30)
        assert fetch(f"{root}/hub/api/models/org/model").status == 200
        assert not waiting.done()
        release.set()
        assert waiting.result().status == 200
    slow.dispose()


class TestFaults:
    """The stand-in for what only the real Hub does; other tests rely on it."""

    @pytest.fixture
    def faults(self, store: Store) -> HubFaults:
        return HubFaults(create_hub_app([store.source()], api_key=None), tokens={"reader", "stranger"})

    @pytest.fixture
    def faulty(self, faults: HubFaults) -> Iterator[str]:
        with serve(faults) as endpoint:
            yield endpoint

    def test_gated(self, faults: HubFaults, faulty: str, tmp_path: Path) -> None:
        faults.gate("org/model", accepted={"reader"})
        for token, status in ((False, 401), ("stranger", 403)):
            api = HfApi(endpoint=faulty, token=token)
            info = api.model_info("org/model", files_metadata=True)
            assert info.gated == "manual"
            assert info.siblings
            assert [m.gated for m in api.list_models(expand=["gated"])] == ["manual"]
            assert list(api.list_repo_tree("org/model"))
            with pytest.raises(GatedRepoError) as caught:
                api.auth_check("org/model")
            assert caught.value.response.status_code == status
            with pytest.raises(GatedRepoError):
                hf_hub_download("org/model", "config.json", endpoint=faulty, cache_dir=tmp_path, token=token)
        HfApi(endpoint=faulty, token="reader").auth_check("org/model")
        assert snapshot_download("org/model", endpoint=faulty, cache_dir=tmp_path, token="reader").endswith(NEW)

    def test_private_missing_and_wrong_token(self, faults: HubFaults, faulty: str) -> None:
        faults.hide("org/model", readers={"reader"})
        for repo_id in ("org/model", "org/none"):
            for token, status in ((False, 401), ("stranger", 404)):
                with pytest.raises(RepositoryNotFoundError) as caught:
                    HfApi(endpoint=faulty, token=token).model_info(repo_id)
                assert caught.value.response.status_code == status
        assert HfApi(endpoint=faulty, token="reader").model_info("org/model").sha == NEW
        with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
            HfApi(endpoint=faulty, token="hf_wrong").model_info("org/model")

    def test_failing(self, faults: HubFaults, faulty: str, tmp_path: Path) -> None:
        faults.fail("/resolve/", 503, times=2, method="HEAD")
        faults.fail("config.json", 429, method="GET", headers={"Retry-After": "1"})
        path = hf_hub_download("org/model", "config.json", endpoint=faulty, cache_dir=tmp_path, token=False)
        assert Path(path).read_bytes() == FILES[0][1]
        assert [(r.method, r.token) for r in faults.requests if "config.json" in r.path] == [
            ("HEAD", None), ("HEAD", None), ("HEAD", None), ("GET", None), ("GET", None),
        ]  # fmt: skip

    def test_dropped_stalled_and_corrupt(self, store: Store, faults: HubFaults, faulty: str) -> None:
        content = bytes(range(256)) * 20_000
        store.add("org/big", OLD, [large("big.bin", content)])
        url = f"{faulty}/org/big/resolve/main/big.bin"
        faults.drop("big.bin", after_bytes=3_000_000)
        with pytest.raises(http.client.IncompleteRead) as caught:
            fetch(url)
        assert caught.value.partial == content[:3_000_000]
        faults.drop("big.bin", after_bytes=0, reset=True)
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            fetch(url)
        faults.stall("big.bin", seconds=1, after_bytes=2_000_000)
        started = time.monotonic()
        assert fetch(url).body == content
        assert time.monotonic() - started >= 1
        faults.corrupt("big.bin", at_byte=4_000_000)
        different = [n for n, (a, b) in enumerate(zip(fetch(url).body, content, strict=True)) if a != b]
        assert different == [4_000_000]
        faults.clear()
        assert fetch(url).body == content
