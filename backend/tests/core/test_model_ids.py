"""What people type or paste to name a model."""

import pytest
from huggingface_hub.utils import validate_repo_id
from hypothesis import example, given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.core.model_ids import HUB_HOSTS, ModelReference, parse_model_reference

OWN = "http://127.0.0.1:8000/hub"


@pytest.mark.parametrize(
    ("text", "model_id", "revision"),
    [
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", None),
        ("gpt2", "gpt2", None),
        ("  gpt2\n", "gpt2", None),
        ("https://huggingface.co/gpt2", "gpt2", None),
        ("https://huggingface.co/Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", None),
        ("https://huggingface.co/Qwen/Qwen3-0.6B/", "Qwen/Qwen3-0.6B", None),
        ("http://www.huggingface.co/Qwen/Qwen3-0.6B?library=transformers#top", "Qwen/Qwen3-0.6B", None),
        ("HuggingFace.co/Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", None),
        ("hf.co/gpt2", "gpt2", None),
        ("https://huggingface.co/gpt2/tree/main", "gpt2", "main"),
        ("https://huggingface.co/a/b/tree/v1.0", "a/b", "v1.0"),
        ("https://huggingface.co/a/b/tree/v1.0/onnx/deep", "a/b", "v1.0"),
        ("https://huggingface.co/a/b/blob/main/config.json", "a/b", "main"),
        ("https://huggingface.co/a/b/resolve/main/model.safetensors?download=true", "a/b", "main"),
        ("https://huggingface.co/a/b/tree/refs%2Fpr%2F7", "a/b", "refs/pr/7"),
        ("https://huggingface.co/a/b/commit/607a30d783dfa663caf39e06633721c8d4cfcd7e", "a/b",
         "607a30d783dfa663caf39e06633721c8d4cfcd7e"),
        ("https://huggingface.co/a/b/commits/main", "a/b", "main"),
        ("https://huggingface.co/a/b/discussions/12", "a/b", None),
        ("https://huggingface.co/a/b/tree", "a/b", None),
        ("https://huggingface.co/a/settings", "a/settings", None),
        ("http://127.0.0.1:8000/hub/modelyard-samples/tiny-gpt2", "modelyard-samples/tiny-gpt2", None),
        ("http://127.0.0.1:8000/hub/gpt2/tree/main", "gpt2", "main"),
        ("http://127.0.0.1:8000/hub/hubert/base", "hubert/base", None),
        ("HTTP://127.0.0.1:8000/hub/a/b", "a/b", None),
        ("hf://a/b", "a/b", None),
        ("hf://gpt2@v1.0", "gpt2", "v1.0"),
        ("hf://models/a/b@refs%2Fpr%2F7", "a/b", "refs/pr/7"),
    ],
)  # fmt: skip
def test_understood(text: str, model_id: str, revision: str | None) -> None:
    assert parse_model_reference(text, endpoint=OWN) == ModelReference(model_id, revision)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "a/b/c",
        "/a",
        "a/",
        "a//b",
        "../etc/passwd",
        "a/..",
        "-a",
        "hf://",
        "hf://a/b@",
        "hf://a/b/config.json",
        "hf://datasets/a/b",
        "a b",
        "a\nb",
        "a\x00b",
        "ä/ö",
        "x" * 97,
        "a--b",
        "models/a/b/c",
        "https://example.com/a/b",
        "https://huggingface.co",
        "https://huggingface.co/",
        "https://huggingface.co/datasets/a/b",
        "https://huggingface.co/spaces/a/b",
        "https://huggingface.co/docs/transformers/index",
        "https://huggingface.co/a/b/c/d",
        "https://huggingface.co.evil.com/a/b",
        "https://evil.com@huggingface.example/a/b",
        "file:///etc/passwd",
        "ftp://huggingface.co/a/b",
        "http://[",
        "http://[::1/a/b",
        "https://huggingface.co/a/b/tree/../../etc",
        "http://127.0.0.1:8001/hub/a/b",
        "http://127.0.0.1:8000/hubert/base",
        "://",
    ],
)
def test_refused_with_a_hint(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_model_reference(text, endpoint=OWN)
    assert caught.value.hint


_NAME = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9_]|[.-](?![.-])){0,20}[a-zA-Z0-9]", fullmatch=True).filter(
    lambda name: not name.endswith(".git")
)
_ID = _NAME | st.tuples(_NAME, _NAME).map("/".join)


@given(st.text() | st.text(alphabet="/:.-%[]@?#hufginace.co ", max_size=40))
@example("http://[::1")
@example("https://huggingface.co/%2e%2e/%2e%2e")
@example("https://huggingface.co/a%00b")
def test_any_text_is_a_valid_name_or_refused(text: str) -> None:
    try:
        reference = parse_model_reference(text, endpoint=OWN)
    except InvalidRequest:
        return
    validate_repo_id(reference.model_id)
    assert reference.revision != ""


@given(_ID)
def test_names_are_kept_as_they_are(model_id: str) -> None:
    assert parse_model_reference(model_id) == ModelReference(model_id)


@given(
    st.sampled_from(["https://", "http://", ""]),
    st.sampled_from(sorted(HUB_HOSTS)),
    st.tuples(_NAME, _NAME).map("/".join),
    st.sampled_from(["tree", "blob", "resolve"]),
    st.sampled_from(["main", "v1.0", "607a30d"]),
)
def test_addresses_of_the_hub(scheme: str, host: str, model_id: str, page: str, revision: str) -> None:
    if model_id.split("/")[0] in ("datasets", "spaces", "docs", "papers", "api", "blog", "models"):
        return
    address = f"{scheme}{host}/{model_id}"
    assert parse_model_reference(address) == ModelReference(model_id)
    assert parse_model_reference(f"{address}/{page}/{revision}") == ModelReference(model_id, revision)
