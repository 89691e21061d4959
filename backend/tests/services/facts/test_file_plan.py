"""Which files of a repository are fetched: what transformers reads, once, and nothing that runs code."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import NoWeights, UnsafeWeights
from modelyard.hub.model_info import HubFile
from modelyard.services.facts.file_plan import plan_files
from support import programs

TEXTS = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "README.md", "LICENSE"]
NOISE = [
    ".gitattributes",
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "events.out.tfevents.1",
]


def shards(base: str, count: int, suffix: str = "safetensors") -> list[str]:
    return [f"{base}-{n:05}-of-{count:05}.{suffix}" for n in range(1, count + 1)]


def plan(*names: str, allow_pickle: bool = False) -> tuple[set[str], dict[str, str]]:
    """What is fetched, and the reason for every file."""
    decided = plan_files([HubFile(name, 1, None, None) for name in names], allow_pickle=allow_pickle)
    assert [planned.file.path for planned in decided.files] == list(names)
    assert decided.size_bytes == len(decided.fetched)
    return {file.path for file in decided.fetched}, {planned.file.path: planned.reason for planned in decided.files}


REPOSITORIES = {
    "one safetensors file": (["model.safetensors"], []),
    "shards": (["model.safetensors.index.json", *shards("model", 3)], []),
    "safetensors and pickle": (["model.safetensors"], ["pytorch_model.bin"]),
    "shards of both kinds": (
        ["model.safetensors.index.json", *shards("model", 2)],
        ["pytorch_model.bin.index.json", *shards("pytorch_model", 2, "bin")],
    ),
    "one file and its shards: transformers takes the one file": (
        ["model.safetensors"],
        ["model.safetensors.index.json", *shards("model", 2)],
    ),
    "shards that count behind the suffix": (
        ["model.safetensors.index.json", "model.safetensors-00001-of-00002.safetensors",
         "model.safetensors-00002-of-00002.safetensors"],
        [],
    ),
    "an index that names more than shards": (
        ["model.safetensors.index.json", *shards("model", 2), "mtp.safetensors"],
        [],
    ),
    "Mistral's own format beside": (
        ["model.safetensors.index.json", *shards("model", 3), "tekken.json", "params.json"],
        ["consolidated.safetensors", *shards("consolidated", 2), "consolidated.safetensors.index.json",
         "tokenizer.model.v3"],
    ),
    "variants": (
        ["model.safetensors.index.json", *shards("model", 2)],
        ["model.fp16.safetensors", *shards("model.fp16", 2), "model.fp16.safetensors.index.json"],
    ),
    "an adapter beside the model": (["model.safetensors", "adapter_config.json"], ["adapter_model.safetensors"]),
    "a sentence-transformers model": (
        ["model.safetensors", "modules.json", "1_Pooling/config.json", "2_Dense/config.json",
         "2_Dense/model.safetensors", "3_Router/router_config.json"],
        ["1_Pooling/notes.txt", "2_Dense/pytorch_model.bin", "4_LayerNorm/pytorch_model.bin", "onnx/config.json"],
    ),
    "folders of no module": (["model.safetensors"], ["1_Pooling/config.json"]),
    "other runtimes": (
        ["model.safetensors"],
        ["tf_model.h5", "flax_model.msgpack", "rust_model.ot", "model.onnx", "onnx/model.onnx",
         "onnx/model_q4.onnx_data",
         "openvino/openvino_model.xml", "openvino/openvino_model.bin", "openvino_model.xml", "openvino_model.bin",
         "64.tflite", "coreml/model.mlpackage/weights.bin", "model-Q4_K_M.gguf", "model.llamafile"],
    ),
    "Meta's own format beside": (
        ["model.safetensors.index.json", *shards("model", 4)],
        ["original/consolidated.00.pth", "original/params.json", "original/tokenizer.model", "metal/model.bin"],
    ),
    "custom code": (["model.safetensors"], ["modeling_custom.py", "configuration_custom.py", "tokenization_x.py"]),
    "chat templates": (
        ["model.safetensors", "chat_template.jinja", "additional_chat_templates/tool.jinja", "chat_template.json"],
        ["examples/chat.jinja", "additional_chat_templates/notes.txt"],
    ),
    "a processor": (["model.safetensors", "preprocessor_config.json", "processor_config.json"], ["assets/cat.png"]),
    "what training left": (
        ["model.safetensors", "trainer_state.json"],
        ["runs/1/events", "checkpoint-5/model.safetensors", "data.jsonl", "train.parquet", "cat.jpg", "weights.npz"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fetched", "left"), REPOSITORIES.values(), ids=REPOSITORIES)
def test_repositories(fetched: list[str], left: list[str]) -> None:
    chosen, reasons = plan(*TEXTS, *NOISE, *fetched, *left)
    assert chosen == {*TEXTS, *fetched}
    assert all(reasons.values())
    decided = plan_files([HubFile(name, 1, None, None) for name in [*fetched, *left]])
    decided.require_weights("owner/name", allow_pickle=False)
    assert {file.path for file in decided.safetensors} == {
        name for name in fetched if name.endswith(".safetensors") and name != "2_Dense/model.safetensors"
    }
    assert decided.unusable_modules == (["4_LayerNorm"] if "modules.json" in fetched else [])


@pytest.mark.parametrize(
    "weights",
    [["pytorch_model.bin"], ["pytorch_model.bin.index.json", *shards("pytorch_model", 2, "bin")]],
    ids=["one file", "shards"],
)
def test_only_pickle_needs_consent(weights: list[str]) -> None:
    others = ["tf_model.h5", "tf_model.h5.index.json", "flax_model.msgpack.index.json", *NOISE]
    refused, reasons = plan(*TEXTS, *weights, *others)
    assert refused == set(TEXTS)
    assert any(reason.startswith("pickle weights") for reason in reasons.values())
    allowed, _reasons = plan(*TEXTS, *weights, *others, allow_pickle=True)
    assert allowed == {*TEXTS, *weights}
    decided = plan_files([HubFile(name, 1, None, None) for name in weights])
    with pytest.raises(UnsafeWeights):
        decided.require_weights("owner/name", allow_pickle=False)
    plan_files([HubFile(name, 1, None, None) for name in weights], allow_pickle=True).require_weights(
        "owner/name", allow_pickle=True
    )


def test_consent_changes_nothing_where_there_are_safetensors() -> None:
    names = [*TEXTS, "model.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json"]
    assert plan(*names, allow_pickle=True)[0] == plan(*names)[0]


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["model-Q4_K_M.gguf", "model-Q8_0.gguf", "config.json"], "GGUF"),
        (["adapter_model.safetensors", "config.json"], "no adapter_config.json"),
        (["consolidated.safetensors", "params.json"], "no weights"),
        (["unet/diffusion_pytorch_model.safetensors", "model_index.json"], "no weights"),
        (["diffusion_pytorch_model.safetensors"], "no weights"),
        (["training_args.bin", "optimizer.pt"], "no weights"),
        (["tf_model.h5", "onnx/model.onnx"], "no weights"),
        (["README.md"], "no weights"),
        ([], "no weights"),
    ],
)
def test_what_can_never_be_loaded(names: list[str], word: str) -> None:
    for allow_pickle in (False, True):
        decided = plan_files([HubFile(name, 1, None, None) for name in names], allow_pickle=allow_pickle)
        with pytest.raises(NoWeights, match=word):
            decided.require_weights("owner/name", allow_pickle=allow_pickle)


@pytest.fixture(scope="session")
def vocabularies() -> set[str]:
    """The names of the files that tokenizers of transformers read."""
    code = """
import json, transformers
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES
names = {c for t in TOKENIZER_MAPPING_NAMES.values() for c in (t if isinstance(t, (tuple, list)) else (t,)) if c}
files = set()
for name in names:
    try:
        files.update(getattr(transformers, name).vocab_files_names.values())
    except (AttributeError, ImportError):
        pass  # needs a package that is not installed
print(json.dumps(sorted(files)))
"""
    answer = programs.run([sys.executable, "-c", code], libraries=True, check=True, capture_output=True)
    return set(json.loads(answer.stdout.splitlines()[-1]))


def test_every_file_a_tokenizer_reads(vocabularies: set[str]) -> None:
    assert len(vocabularies) > 15
    assert plan(*sorted(vocabularies))[0] == vocabularies
    beside = {"merges.txt", "tokenizer_config.json", "emoji.json", "entity_vocab.json", "word_shape.json",
              "word_pronunciation.json", "normalizer.json", "vocab-tgt.json", "target_vocab.json",
              "dict.txt"}  # fmt: skip
    for name in vocabularies - beside | {"qwen.tiktoken", "source.spm", "tekken.json"}:
        assert plan_files([HubFile(name, 1, None, None)]).has_tokenizer, name
    assert not plan_files([HubFile(name, 1, None, None) for name in ("config.json", "model.safetensors")]).has_tokenizer


def test_unknown_sizes_count_as_nothing() -> None:
    decided = plan_files(
        [HubFile("model.safetensors", None, "a" * 64, None), HubFile("config.json", 5, None, "b" * 40)]
    )
    assert decided.size_bytes == 5


_PART = st.text(alphabet="abmodel_.-0123456789", min_size=1, max_size=12) | st.sampled_from(
    ["model", "onnx", "pytorch_model", "config.json", "model.safetensors", "x.py", "x.bin", "x.gguf", "pickle.pkl"]
)


@given(st.lists(st.lists(_PART, min_size=1, max_size=3).map("/".join), unique=True, max_size=12), st.booleans())
def test_any_repository(names: list[str], allow_pickle: bool) -> None:
    fetched, reasons = plan(*names, allow_pickle=allow_pickle)
    assert set(reasons) == set(names)
    assert not any(name.endswith((".py", ".gguf", ".pkl", ".onnx")) for name in fetched)
    if not allow_pickle:
        assert not any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in fetched)
