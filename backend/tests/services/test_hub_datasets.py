"""Data sets of a Hub over HTTP: found, and looked into by small parts of their files."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hub.hub_faults import serve
from modelyard.core.database import Database
from modelyard.core.errors import DatasetNotFound, InvalidRequest
from modelyard.hub.client import HubClient
from modelyard.services import dataset_preview
from modelyard.services.hub_datasets import HubDatasetService
from modelyard.services.settings_service import SettingsService
from support.dataset_hub import COMMIT, DatasetHub

ROWS: list[dict[str, Any]] = [
    {"text": f"Row {number}. " + "x" * 3000, "id": number, "parts": [b"\0", "a"][1:]} for number in range(40)
]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=20)


@pytest.fixture(scope="module")
def _hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DatasetHub, str]]:
    folder = tmp_path_factory.mktemp("sets")
    (folder / "parquet").mkdir()
    if find_spec("pyarrow") is not None:
        write(folder / "parquet/data/train-00000-of-00002.parquet", ROWS)
        write(folder / "parquet/data/train-00001-of-00002.parquet", ROWS[:7])
        write(folder / "parquet/data/test-00000-of-00001.parquet", ROWS[:3])
    for name, content in {
        "lines/train.jsonl": "".join(json.dumps({"text": "é" * 100, "n": n}) + "\n" for n in range(5)).encode(),
        "prose/a.txt": b"One\ntwo\n\n\nThree\n",
        "broken/a.parquet": b"PAR1" + b"x" * 100 + b"\x40\0\0\0PAR1",
        "odd/a.csv": b"a,b\n",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    names = ("parquet", "lines", "prose", "broken", "odd")
    hub = DatasetHub(**{f"lab__{name}": folder / name for name in names})
    with serve(hub.app) as endpoint:
        yield hub, endpoint


@pytest.fixture
def hub(_hub: tuple[DatasetHub, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[DatasetHub]:
    hub, endpoint = _hub
    monkeypatch.setattr(SettingsService, "hub_client", lambda _: HubClient(endpoint, False))
    yield hub
    hub.extra.clear()
    hub.ranges.clear()


@pytest.fixture
def service(database: Database, hub: DatasetHub) -> HubDatasetService:
    return HubDatasetService(database)


def test_search(service: HubDatasetService, hub: DatasetHub) -> None:
    hub.extra["lab/lines"] = {
        "downloads": 7, "likes": -1, "gated": "auto", "tags": ["license:mit", "size_categories:n<1K", 3],
        "lastModified": "2026-01-02T03:04:05.000Z",
    }  # fmt: skip
    (item,) = service.search("lines", "downloads", 5).items
    assert (item.repo_id, item.downloads, item.likes, item.access) == ("lab/lines", 7, None, "no_token")
    assert (item.licence, item.rows) == ("mit", "n<1K")
    assert [item.rows for item in service.search("prose", "downloads", 5).items] == [None]
    assert service.search("nothing", "downloads", 5).items == []


@pytest.mark.sae
def test_parquet_is_read_from_its_footers(service: HubDatasetService, hub: DatasetHub) -> None:
    hub.extra["lab/parquet"] = {
        "cardData": {"dataset_info": {"splits": [{"name": "test", "num_examples": 99}]}, "license": "mit"}
    }
    found = service.info("lab/parquet")
    (config,) = found.configs
    assert (found.commit, found.licence, found.config, found.split) == (COMMIT, "mit", "default", "train")
    splits = {split.name: (split.rows, split.rows_counted, split.files, split.format) for split in config.splits}
    assert splits == {"test": (99, False, 1, "parquet"), "train": (47, True, 2, "parquet")}
    assert found.columns is not None
    assert [(column.name, column.type) for column in found.columns][:2] == [("text", "string"), ("id", "int64")]
    assert found.first_rows is not None
    assert len(found.first_rows) == dataset_preview.FIRST_ROWS
    assert found.first_rows[1] == {"text": ROWS[1]["text"][:1000], "id": 1, "parts": '["a"]'}
    assert all(hub.ranges)
    counted = service.info("lab/parquet", split="test").configs[0].splits
    assert {split.name: (split.rows, split.rows_counted) for split in counted}["test"] == (3, True)


@pytest.mark.sae
def test_first_rows_that_would_take_too_many_bytes_are_unknown(
    service: HubDatasetService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_preview, "MAX_GROUP_BYTES", 10)
    monkeypatch.setattr(dataset_preview, "COUNTED_FILES", 1)
    monkeypatch.setattr(dataset_preview, "TAIL_BYTES", 16)
    found = service.info("lab/parquet", split="train")
    assert (found.first_rows, found.problem) == (None, None)
    assert found.columns is not None
    assert {split.name: split.rows for split in found.configs[0].splits}["train"] is None


def test_lines_and_prose(service: HubDatasetService, monkeypatch: pytest.MonkeyPatch) -> None:
    found = service.info("lab/lines")
    assert found.columns is not None
    assert [(column.name, column.type) for column in found.columns] == [("text", "string"), ("n", "int64")]
    assert (found.configs[0].splits[0].rows, found.first_rows and found.first_rows[4]) == (
        5,
        {"text": "é" * 100, "n": 4},
    )
    prose = service.info("lab/prose")
    assert (prose.configs[0].splits[0].rows, prose.first_rows) == (2, [{"text": "One\ntwo"}, {"text": "Three"}])
    monkeypatch.setattr(dataset_preview, "TEXT_BYTES", 1500)
    cut = service.info("lab/lines")
    assert (cut.configs[0].splits[0].rows, len(cut.first_rows or [])) == (None, 2)


@pytest.mark.sae
def test_parquet_that_cannot_be_read_says_why(service: HubDatasetService) -> None:
    broken = service.info("lab/broken")
    assert (broken.columns, broken.first_rows, broken.configs[0].splits[0].rows) == (None, None, None)
    assert broken.problem is not None
    assert broken.problem.message == "a.parquet is no readable Parquet file."


def test_what_cannot_be_read_says_why(
    service: HubDatasetService, hub: DatasetHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_preview, "find_spec", lambda _name: None)
    unread = service.info("lab/broken")
    assert (unread.columns, unread.configs[0].splits[0].rows) == (None, None)
    assert unread.problem is not None
    assert unread.problem.code == "sae_engine_missing"
    odd = service.info("lab/odd")
    assert (odd.configs, odd.config, odd.columns) == ([], None, None)
    hub.extra["lab/odd"] = {"cardData": {"configs": [{"config_name": "csv", "data_files": "*.csv"}]}}
    named = service.info("lab/odd")
    assert named.configs[0].splits[0].format is None
    assert named.problem is not None
    assert "not read here" in named.problem.message


def test_names_that_nothing_has(service: HubDatasetService) -> None:
    with pytest.raises(DatasetNotFound, match="no data set 'lab/nothing'"):
        service.info("lab/nothing")
    with pytest.raises(InvalidRequest, match="not a data set's name"):
        service.info("../etc")
    with pytest.raises(InvalidRequest, match="no split 'dev'"):
        service.info("lab/lines", split="dev")
    with pytest.raises(InvalidRequest, match="no configuration 'dev'"):
        service.info("lab/lines", config="dev", split="train")
