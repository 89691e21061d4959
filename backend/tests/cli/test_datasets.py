"""Commands for data sets, against a server whose Hub has some."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.hub_faults import serve
from modelyard.client.api_client import ApiClient
from support.dataset_hub import DatasetHub

from .conftest import Server


@pytest.fixture
def hub(server: Server, tmp_path: Path) -> Iterator[DatasetHub]:
    (tmp_path / "train.jsonl").write_text('{"text": "One \\u001b[1m"}\n{"text": "Two"}\n')
    hub = DatasetHub(lab__lines=tmp_path)
    with serve(hub.app) as endpoint:
        server.client.put("/settings", {"endpoint": endpoint})
        yield hub
        server.client.put("/settings", {"endpoint": "builtin"})


def test_a_hub_with_a_data_set(server: Server, hub: DatasetHub) -> None:
    hub.extra["lab/lines"] = {"downloads": 7, "tags": ["license:mit", "size_categories:n<1K"]}
    found = server.modelyard("datasets", "search", "lines").stdout
    assert found.splitlines()[1].split() == ["lab/lines", "n<1K", "7", "mit", "open"]
    assert "no data set whose name contains 'x'" in server.modelyard("datasets", "search", "x").stderr
    shown = server.modelyard("datasets", "info", "lab/lines").stdout
    assert "text: One \N{REPLACEMENT CHARACTER}[1m" in shown
    assert [line.split() for line in shown.splitlines()][-1] == ["default", "train", "2", "42", "B", "1", "jsonl"]
    told = json.loads(server.modelyard("datasets", "info", "lab/lines", "--split", "train", "--json").stdout)
    assert (told["columns"], told["problem"]) == ([{"name": "text", "type": "string"}], None)
    missing = server.modelyard("datasets", "info", "lab/none")
    assert (missing.returncode, "There is no data set 'lab/none'" in missing.stderr) == (1, True)


def test_the_sample_hub_has_none(server: Server) -> None:
    client: ApiClient = server.client
    assert client.get("/datasets/search", q="") == {"items": [], "next_cursor": None}
