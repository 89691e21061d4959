"""Odd repositories of kinds that people publish: each is a function that writes one into a folder, without torch.

`ODD` maps a name to what becomes of the repository: None where it loads, otherwise words of the reason for which it is
refused.
"""

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY, WIDTH, INNER, LAYERS = 96, 32, 64, 2
INDEX = "model.safetensors.index.json"
Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]


def config(**changes: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
    } | changes


def tensors() -> Tensors:
    """The weights of `config()`."""
    generator = np.random.default_rng(0)

    def random(*shape: int) -> tuple[str, tuple[int, ...], bytes]:
        return "F32", shape, (generator.standard_normal(shape) * 0.05).astype("<f4").tobytes()

    found = {"model.embed_tokens.weight": random(VOCABULARY, WIDTH), "lm_head.weight": random(VOCABULARY, WIDTH)}
    found["model.norm.weight"] = random(WIDTH)
    for layer in range(LAYERS):
        start = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"{start}{norm}.weight"] = random(WIDTH)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            found[f"{start}self_attn.{name}.weight"] = random(WIDTH, WIDTH)
        for name, shape in (("gate_proj", (INNER, WIDTH)), ("up_proj", (INNER, WIDTH)), ("down_proj", (WIDTH, INNER))):
            found[f"{start}mlp.{name}.weight"] = random(*shape)
    return found


def write_safetensors(path: Path, content: Tensors) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape, data) in content.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in content.values()))


def write_model(folder: Path, content: Tensors | None = None, name: str = "model.safetensors", **changes: Any) -> None:
    """A small Llama, without a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(**changes)))
    write_safetensors(folder / name, content or tensors())


def write_shards(
    folder: Path,
    *,
    files: Iterable[str] = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    named: Callable[[str], Any] = lambda file: file,
    **index: Any,
) -> None:
    """The same in several files; the index calls each what `named` makes of its name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config()))
    content, names = tensors(), list(files)
    weight_map: dict[str, str] = {}
    for number, file in enumerate(names):
        part = {key: content[key] for key in list(content)[number :: len(names)]}
        write_safetensors(folder / file, part)
        weight_map |= dict.fromkeys(part, named(file))
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map} | index))


def _stray(folder: Path) -> None:
    write_shards(folder)
    write_safetensors(folder / "optimizer.safetensors", {"exp_avg": ("F32", (1000,), bytes(4000))})


def _no_index(folder: Path) -> None:
    write_shards(folder)
    (folder / INDEX).unlink()


def _one_shard_less(folder: Path) -> None:
    write_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def _single_beside_index(folder: Path) -> None:
    write_shards(folder, named=lambda _file: "/etc/passwd")
    write_model(folder)


def _broken_index(folder: Path) -> None:
    write_shards(folder)
    (folder / INDEX).write_text('{"weight_map": ')


def _sentences(folder: Path) -> None:
    """A sentence-transformers model with a module that has weights of its own, and one whose weights are pickle."""
    write_model(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_LayerNorm", "LayerNorm")]
    (folder / "modules.json").write_text(
        json.dumps([{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules])
    )
    for name in ("1_Pooling", "2_Dense", "3_LayerNorm"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    for name in ("2_Dense", "3_LayerNorm"):
        (folder / name / "pytorch_model.bin").write_bytes(b"pickle")
    write_safetensors(
        folder / "2_Dense" / "model.safetensors", {"linear.weight": ("F8_E4M3", (WIDTH, WIDTH), bytes(WIDTH**2))}
    )


def _pointer(folder: Path) -> None:
    write_model(folder)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 4976698672\n"
    (folder / "model.safetensors").write_text(pointer)


def _cut_short(folder: Path) -> None:
    write_model(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def _overlap(folder: Path) -> None:
    """Weights of which two tensors are the same bytes, by the header alone."""
    write_model(folder)
    path = folder / "model.safetensors"
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["model.layers.1.self_attn.v_proj.weight"] = header["model.layers.1.self_attn.k_proj.weight"]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[start:])


def _eight_bits(*, scaled: bool) -> Tensors:
    content: Tensors = {}
    for name, (dtype, shape, data) in tensors().items():
        if "_proj" not in name:
            content[name] = (dtype, shape, data)
            continue
        content[name] = ("F8_E4M3", shape, bytes(len(data) // 4))
        if scaled:
            content[f"{name}_scale_inv"] = ("F32", (1, 1), np.full(1, 3e-4, "<f4").tobytes())
    return content


def _own_quantization(folder: Path) -> None:
    write_model(folder)
    (folder / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "NVFP4"}}))


def _with_card(folder: Path, front: str) -> None:
    write_model(folder)
    (folder / "README.md").write_text(f"---\n{front}\n---\n# A model\n")


CARDS = {
    "card-long-licence": f"license: {'as you like ' * 40}",
    "card-odd-types": "license: {a: 1}\ntags: 5\nlanguage: {b: [1]}\nmodel-index: text\nignore_metadata_errors: 1",
    "card-lists": "license: [mit, 5]\ntags: [[a], {b: c}, null]\nmodel-index: [1, {results: 2}]\neval_results: x",
    "card-mistyped": "license: !!bool maybe",
    "card-no-time": "license: !!timestamp x",
    "card-no-number": "license: !!int ''",
    "card-no-mapping": "- license",
    "card-unclosed": "license: [mit",
}
"""What authors write before the text of a model card; none of it concerns the weights."""

ODD: Mapping[str, tuple[Callable[[Path], None], str | None]] = {
    "plain": (write_model, None),
    "shards": (write_shards, None),
    "index-six-digits": (
        lambda folder: write_shards(folder, files=["model-000001-of-000002.safetensors", "x.safetensors"]),
        None,
    ),
    "index-in-folder": (
        lambda folder: write_shards(folder, files=["shards/x.safetensors", "shards/y.safetensors"]),
        None,
    ),
    "index-and-stray": (_stray, None),
    "sentences": (_sentences, None),
    "single-beside-hostile-index": (_single_beside_index, None),
    "index-stale-names": (
        lambda folder: write_shards(folder, named=lambda file: file.replace("of-00002", "of-00030")),
        "model-00001-of-00030.safetensors",
    ),
    "index-other-case": (lambda folder: write_shards(folder, named=str.upper), "is not a .safetensors file"),
    "index-other-case-of-stem": (
        lambda folder: write_shards(folder, named=lambda file: file.replace("model", "Model")),
        "there is model-00001-of-00002.safetensors",
    ),
    "index-missing-shard": (_one_shard_less, "model-00002-of-00002.safetensors"),
    "index-absolute": (
        lambda folder: write_shards(folder, named=lambda file: f"/tmp/{file}"),
        "not a file inside the repository",
    ),
    "index-parent": (
        lambda folder: write_shards(folder, named=lambda file: f"../{file}"),
        "not a file inside the repository",
    ),
    "index-inner-parent": (
        lambda folder: write_shards(folder, named=lambda file: f"x/../../{file}"),
        "not a file inside the repository",
    ),
    "index-backslash": (
        lambda folder: write_shards(folder, named=lambda file: f"..\\{file}"),
        "not a file inside the repository",
    ),
    "index-null": (lambda folder: write_shards(folder, named=lambda file: f"{file}\0"), "not a file inside"),
    "index-number": (lambda folder: write_shards(folder, named=lambda _file: 3), "a number"),
    "index-pickle": (
        lambda folder: write_shards(folder, named=lambda _file: "evil.bin"),
        "not a .safetensors file",
    ),
    "index-empty-map": (lambda folder: write_shards(folder, weight_map={}), "is empty"),
    "index-list": (lambda folder: write_shards(folder, weight_map=["x"]), "is a list"),
    "index-large": (lambda folder: write_shards(folder, metadata={"note": "x" * 21_000_000}), None),
    "index-no-metadata": (lambda folder: write_shards(folder, metadata=None), "metadata"),
    "index-broken": (_broken_index, "line 1"),
    "no-index": (_no_index, "without an index"),
    "variant": (lambda folder: write_model(folder, name="model.fp16.safetensors"), "is a variant (fp16)"),
    "in-folder": (lambda folder: write_model(folder, name="merged/f16/model.safetensors"), "in merged/f16/"),
    "other-name": (lambda folder: write_model(folder, name="pytorch.safetensors"), "pytorch.safetensors is not a name"),
    "misspelt": (lambda folder: write_model(folder, name="Model.safetensors"), "is not spelt"),
    "pointer": (_pointer, "git-lfs pointer"),
    "cut-short": (_cut_short, "its header describes"),
    "overlap": (_overlap, "overlap, or leave gaps"),
    "eight-bits-plain": (lambda folder: write_model(folder, _eight_bits(scaled=False)), None),
    "eight-bits-scaled": (lambda folder: write_model(folder, _eight_bits(scaled=True)), "no quantization_config"),
    "quantized-elsewhere": (_own_quantization, "no quantization_config"),
    **{name: (partial(_with_card, front=front), None) for name, front in CARDS.items()},
    "layers-absurd": (
        lambda folder: write_model(folder, num_hidden_layers=1_000_000_000),
        "num_hidden_layers is 1000000000",
    ),
    "experts-absurd": (lambda folder: write_model(folder, num_local_experts=10**12), "num_local_experts is 1000000000"),
    "layers-negative": (lambda folder: write_model(folder, num_hidden_layers=-2), "num_hidden_layers is -2"),
    "layers-boolean": (lambda folder: write_model(folder, num_hidden_layers=True), "num_hidden_layers is true"),
    "vocabulary-absurd": (lambda folder: write_model(folder, vocab_size=10**15), "vocab_size is 1000000000000000"),
    "nested-absurd": (
        lambda folder: write_model(folder, text_config={"num_hidden_layers": 10**9}),
        "text_config.num_hidden_layers is 1000000000",
    ),
}


def write_odd(name: str, folder: Path) -> Path:
    """Write one of `ODD`."""
    ODD[name][0](folder)
    return folder
