"""Which files of a data set are which configuration and split."""

import time

import pytest

from modelyard.hub import dataset_layout
from modelyard.hub.dataset_layout import configs_of
from modelyard.hub.model_info import HubFile

Layout = dict[str, dict[str, list[str]]]


def layout(paths: list[str], card: dict[str, object] | None = None) -> Layout:
    files = [HubFile(path, 10, None, "a" * 40) for path in paths]
    return {
        config.name: {split.name: [file.path for file in split.files] for split in config.splits}
        for config in configs_of(files, card or {})
    }


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["README.md", "a.parquet"], {"train": ["a.parquet"]}),
        (
            ["data/test-00000-of-00001.parquet", "data/extra.v2-00000-of-00001-ab.parquet", "notes.txt"],
            {"extra.v2": ["data/extra.v2-00000-of-00001-ab.parquet"], "test": ["data/test-00000-of-00001.parquet"]},
        ),
        (
            ["dev.jsonl", "my_train_1.jsonl", "other.jsonl"],
            {"validation": ["dev.jsonl"], "train": ["my_train_1.jsonl"]},
        ),
        (["constraint.txt", "valid/a.txt"], {"validation": ["valid/a.txt"]}),
    ],
)
def test_by_names(paths: list[str], expected: dict[str, list[str]]) -> None:
    assert layout(paths) == {"default": expected}


def test_nothing_that_is_read() -> None:
    assert layout(["README.md", "a.csv", "../b.parquet"]) == {}


def test_by_the_card() -> None:
    card: dict[str, object] = {
        "configs": [
            {"config_name": "en", "data_files": [{"split": "train", "path": ["en/*.parquet"]}]},
            {"config_name": "deep", "data_files": {"all": "**/x-*.jsonl"}},
            {"config_name": "one", "data_dir": "en", "data_files": "b.parquet"},
            {"config_name": "none", "data_files": "missing.parquet"},
            {"config_name": 7},
            "en",
        ],
        "dataset_info": [{"config_name": "en", "splits": [{"name": "train", "num_examples": 5}, 3]}, None],
    }
    paths = ["en/a.parquet", "en/b.parquet", "en/c/d.parquet", "x-1.jsonl", "p/q/x-2.jsonl"]
    assert layout(paths, card) == {
        "en": {"train": ["en/a.parquet", "en/b.parquet"]},
        "deep": {"all": ["p/q/x-2.jsonl", "x-1.jsonl"]},
        "one": {"train": ["en/b.parquet"]},
    }
    files = [HubFile(path, None, None, "a" * 40) for path in paths]
    split = configs_of(files, card)[0].splits[0]
    assert (split.stated_rows, split.size_bytes, split.format) == (5, None, "parquet")


def test_patterns_that_would_take_long_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_layout, "MAX_COMPARISONS", 20_000)
    deep = "/".join("a" * 20)
    paths = [f"{deep[:-1]}{number}.parquet" for number in range(100)]
    configs = [{"config_name": f"c{n}", "data_files": "**/*/**/*a*a*a*a*b"} for n in range(500)]
    start = time.monotonic()
    assert layout(paths, {"configs": configs}) == {}
    assert time.monotonic() - start < 5
