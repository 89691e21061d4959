"""A Hub that serves folders of a test, and counts what it sends."""

import hashlib
import json
import zlib
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.core.paths import open_inside
from modelyard.hub.server.metadata import read_facts
from modelyard.hub.server.repositories import RepoNotFound, RepoRevisionNotFound, StoredFile, StoredRepo, git_blob_sha1
from modelyard.hub.sources import Found, ListedRepo, RepoQuery, find_among


class _Announced(StoredFile):
    """A file that is not of the size it is said to have."""

    def open(self) -> FileIO:
        return open_inside(self.folder, self.path)


class FolderSource:
    """Repositories that are folders; safetensors are large files, the rest small ones."""

    listed_last = False

    def __init__(self, **folders: Path) -> None:
        self.repos = {name.replace("__", "/"): _read(name.replace("__", "/"), path) for name, path in folders.items()}
        self._left: dict[tuple[str, str | None], StoredRepo] = {}

    def move(self, repo_id: str, folder: Path) -> str:
        """Put the main branch onto the content of another folder; the commit it leaves stays. Returns the new one."""
        left = self.repos[repo_id]
        self._left[repo_id, left.commit] = left
        self.repos[repo_id] = _read(repo_id, folder)
        return self.repos[repo_id].commit

    def pretend(self, repo_id: str, path: str, *, size_bytes: int) -> None:
        """Announce another size for a file."""
        repo = self.repos[repo_id]
        announced = _Announced(**vars(repo.files[path]) | {"size_bytes": size_bytes})
        files = {**repo.files, path: announced}
        self.repos[repo_id] = replace(repo, files=files)

    async def find(self, query: RepoQuery, *, skip: int, limit: int, details: bool) -> Found:  # noqa: ARG002
        listed = [ListedRepo(repo, read_facts(repo)) for repo in self.repos.values()]
        return find_among(listed, query, skip=skip, limit=limit)

    async def holding(self, repo_ids: Collection[str]) -> set[str]:
        return set(self.repos) & set(repo_ids)

    async def get_repo(self, repo_id: str, revision: str | None) -> StoredRepo:
        if earlier := self._left.get((repo_id, revision)):
            return earlier
        repo = self.repos.get(repo_id)
        if repo is None:
            raise RepoNotFound(repo_id)
        if revision not in (None, "main", repo.commit):
            raise RepoRevisionNotFound(revision)
        return repo


class CountSent:
    """ASGI middleware that counts the bytes of file contents."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.sent_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        counts = scope["type"] == "http" and scope["method"] == "GET" and "/resolve/" in scope["path"]

        async def counted(message: Message) -> None:
            if counts:
                self.sent_bytes += len(message.get("body", b""))
            await send(message)

        await self.app(scope, receive, counted)


def make_llama(folder: Path, *, weight_bytes: int, shards: int = 1) -> Path:
    """A folder that looks like a Llama checkpoint of about this size; random content, which nothing can compress.

    It depends on the folder's name: models of two folders share no content.
    """
    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float16",
        "hidden_size": 1024,
        "num_hidden_layers": 4,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "intermediate_size": 2048,
        "vocab_size": 1000,
        "max_position_embeddings": 2048,
    }
    (folder / "config.json").write_text(json.dumps(config))
    generator = np.random.default_rng(zlib.crc32(folder.name.encode()))
    each = weight_bytes // shards
    index = {}
    for number in range(shards):
        name = "model.safetensors" if shards == 1 else f"model-{number + 1:05}-of-{shards:05}.safetensors"
        rows = each // 2048
        key = f"model.layers.{number}.mlp.up_proj.weight"
        bits = np.frombuffer(generator.bytes(rows * 2048), dtype=np.uint16).reshape(rows, 1024)
        save_file({key: bits.view(np.float16)}, folder / name)
        index[key] = name
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


TINY_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "bfloat16",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 192,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
}


def make_tiny(folder: Path) -> Path:
    """A small random Llama that can be loaded, in safetensors."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    LlamaForCausalLM(LlamaConfig(**TINY_LLAMA)).to(torch.bfloat16).save_pretrained(folder)
    return folder


def make_pickle(folder: Path) -> Path:
    """A small random Llama whose only weights are a pickle file."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    model = LlamaForCausalLM(LlamaConfig(**TINY_LLAMA)).to(torch.bfloat16)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(TINY_LLAMA))
    return folder


def make_packed(folder: Path) -> Path:
    """What looks like a Llama quantized with GPTQ: eight values of four bits in each stored number."""
    folder.mkdir(parents=True)
    quantized = TINY_LLAMA | {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    (folder / "config.json").write_text(json.dumps(quantized))
    name = "model.layers.0.mlp.up_proj.qweight"
    save_file({name: np.zeros((8, 192), dtype=np.int32)}, folder / "model.safetensors")
    return folder


def make_adapter(folder: Path) -> Path:
    """An adapter of DoRA, which is not supported, beside the configuration of its base model."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(TINY_LLAMA))
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "lab/base", "r": 4, "use_dora": True})
    )
    save_file({"lora_A.weight": np.zeros((4, 64), dtype=np.float32)}, folder / "adapter_model.safetensors")
    return folder


def _read(repo_id: str, folder: Path) -> StoredRepo:
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        large = name.endswith((".safetensors", ".bin", ".gguf"))
        sha256 = hashlib.sha256(content).hexdigest() if large else None
        files[name] = StoredFile(name, len(content), git_blob_sha1(content), sha256, folder)
    commit = git_blob_sha1("".join(file.git_oid for file in files.values()).encode())
    return StoredRepo(repo_id, commit, files, {"main": commit}, datetime.now(UTC))
