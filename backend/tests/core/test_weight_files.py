"""Which files are a checkpoint, whatever an index says."""

import json
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from transformers import modeling_utils

from modelyard.core.checkpoint_folder import weight_files
from modelyard.core.config_limits import absurd_size
from modelyard.core.errors import NoWeights
from modelyard.core.safetensors_header import read_header
from modelyard.core.weight_files import (
    INDEX,
    INDEX_PICKLE,
    SINGLE,
    SINGLE_PICKLE,
    Index,
    find_weights,
    parse_index,
    read_index,
    weights_form,
)
from support.odd_repositories import config

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(max_size=20) | st.sampled_from(["../x.safetensors", "/x.safetensors", "a/../../x.safetensors", "x.bin"])


@given(weight_map=st.dictionaries(st.text(), JSON | NAMES, max_size=4) | JSON, metadata=JSON | st.just({}))
def test_an_index_names_files_inside_or_is_refused(weight_map: object, metadata: object) -> None:
    index = read_index({"weight_map": weight_map, "metadata": metadata}, INDEX)
    assert (index.problem is None) != (index.shards == ())
    for shard in index.shards:
        assert shard.endswith(".safetensors")
        assert not PurePosixPath(shard).is_absolute()
        assert not {"", ".", ".."} & set(shard.split("/"))
        assert not set("\\\0:") & set(shard)


@given(content=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_index_or_a_problem(content: bytes) -> None:
    assert parse_index(content, INDEX, "owner/name").problem


@given(shards=st.lists(st.sampled_from("abcd"), min_size=1, unique=True), there=st.sets(st.sampled_from("abcd")))
def test_the_checkpoint_is_what_the_index_names_and_all_of_it(shards: list[str], there: set[str]) -> None:
    index = Index(tuple(f"{name}.safetensors" for name in shards))
    found = find_weights({INDEX, *(f"{name}.safetensors" for name in there)}, index)
    if set(shards) <= there:
        assert (set(found.files), found.problem) == (set(index.shards), None)
    else:
        assert found.files == ()
        assert found.problem is not None
        assert any(f"{name}.safetensors" in found.problem for name in set(shards) - there)


@given(names=st.sets(st.sampled_from([SINGLE, INDEX, SINGLE_PICKLE, INDEX_PICKLE]), min_size=1))
def test_the_order_is_that_of_transformers(names: set[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("order")
    for name in names:
        shard = "s.safetensors" if name == INDEX else "s.bin"
        (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": {"w": shard}}))
    files, _ = modeling_utils._get_resolved_checkpoint_files(str(folder), None, None, None, None, False)
    form = weights_form(names)
    wanted = {INDEX: "s.safetensors", INDEX_PICKLE: "s.bin"}.get(form or "", form)
    assert [Path(file).name for file in files or ()] == [wanted]
    if form in (SINGLE, SINGLE_PICKLE):
        assert [path.name for path in weight_files(folder)] == [form]


@given(content=st.binary(max_size=64))
def test_random_bytes_are_no_weight_file(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("header") / SINGLE
    path.write_bytes(content)
    with pytest.raises(NoWeights, match=SINGLE):
        read_header(path, "owner/name")


_TENSOR = st.builds(
    lambda dtype, shape, begin, end: {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]},
    st.sampled_from(["F32", "F16", "U8", "F4", "BOOL"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.integers(0, 8),
    st.integers(0, 16),
)


@given(header=st.dictionaries(st.sampled_from("abc"), _TENSOR, max_size=3), size=st.integers(0, 16))
@example(header={"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, size=4)
@example(header={name: {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]} for name in "ab"}, size=4)
@example(header={"a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}}, size=8)
@example(header={"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 4]}}, size=4)
def test_a_header_is_accepted_if_safetensors_accepts_it(
    header: dict[str, object], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + bytes(size)
    path = tmp_path_factory.mktemp("header") / SINGLE
    path.write_bytes(content)
    try:
        deserialize(content)
    except SafetensorError:
        with pytest.raises(NoWeights, match=SINGLE):
            read_header(path, "owner/name")
    else:
        assert set(read_header(path, "owner/name")) == set(header)


@pytest.mark.parametrize("tensor", [{"shape": [2**62] * 100_000, "data_offsets": [0, 4]}, {"shape": [1]}])
def test_a_tensor_that_none_is(tensor: dict[str, object], tmp_path: Path) -> None:
    text = json.dumps({"a": {"dtype": "F32", **tensor}}).encode()
    (tmp_path / SINGLE).write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(NoWeights, match="makes no sense"):
        read_header(tmp_path / SINGLE, "owner/name")


def test_a_header_of_a_hundred_megabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / SINGLE).open("wb") as file:
        file.write((100_000_000).to_bytes(8, "little"))
        file.truncate(200_000_000)
    with pytest.raises(NoWeights, match=r"has a header of more than 25\.0 MB"):
        read_header(tmp_path / SINGLE, "owner/name")


@pytest.mark.parametrize(
    "filling",
    [b'"__metadata__":[' + b"[]," * 800_000 + b"[]]", b'"a":[' + b"1," * 1_600_000 + b"1]"],
    ids=["lists", "numbers"],
)
def test_a_header_of_millions_of_values_is_not_parsed(filling: bytes, tmp_path: Path) -> None:
    """They would take a gigabyte and minutes, though the header is not large."""
    header = b"{" + filling + b"}"
    (tmp_path / SINGLE).write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(NoWeights, match="more than 1,500,000 values"):
        read_header(tmp_path / SINGLE, "owner/name")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"num_hidden_layers": 10_000}, None),
        ({"n_layer": 10_001}, "n_layer is 10001"),
        ({"decoder_layers": 10**6}, "decoder_layers is 1000000"),
        ({"num_experts": 10**12}, "num_experts is 1000000000000"),
        ({"n_routed_experts": -1}, "n_routed_experts is -1"),
        ({"vocab_size": 10**400}, "vocab_size is a number of 401 digits"),
        ({"hidden_size": True}, "hidden_size is true"),
        ({"text_config": {"inner": {"num_layers": 10**9}}}, "text_config.inner.num_layers is 1000000000"),
        ({"sliding_window": -1, "max_position_embeddings": 10**8, "vision_feature_layer": -2}, None),
    ],
)
def test_sizes_that_no_model_has_are_named(changes: dict[str, object], words: str | None) -> None:
    found = absurd_size(config(**changes))
    assert found is None if words is None else words in (found or "")
