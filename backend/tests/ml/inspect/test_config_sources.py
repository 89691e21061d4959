"""Configurations that name a model elsewhere: transformers asks the Hub for it, Modelyard does not."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from huggingface_hub import constants
from transformers import AutoConfig
from transformers.utils import hub

from modelyard.core.errors import UnsupportedArchitecture
from modelyard.ml.inspect import meta_model
from modelyard.ml.inspect.config_sources import foreign_source

DETR = {"model_type": "detr", "architectures": ["DetrForObjectDetection"], "num_channels": 3}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of the Hub of this process; it has none of it."""
    paths: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setattr(hub, "_hf_api", None)
        yield paths
        server.shutdown()
    hub._hf_api = None


@pytest.mark.parametrize(
    "more",
    [
        {"use_timm_backbone": False},
        {"use_timm_backbone": False, "use_pretrained_backbone": True},
        {"backbone_kwargs": {"out_indices": [1]}},
    ],
)
def test_a_backbone_is_not_asked_for(tmp_path: Path, asked: list[str], more: dict[str, Any]) -> None:
    config = DETR | {"backbone": "attacker/backbone"} | more
    (tmp_path / "config.json").write_text(json.dumps(config))
    try:
        AutoConfig.from_pretrained(tmp_path, local_files_only=True)
    except Exception as error:  # noqa: BLE001 - whatever transformers makes of the Hub's answer
        print(error)
    assert any("attacker/backbone" in path for path in asked), "transformers asks"
    asked.clear()
    with pytest.raises(UnsupportedArchitecture, match="backbone names another model, 'attacker/backbone'"):
        meta_model.load_config(config)
    assert asked == []


@pytest.mark.parametrize(
    ("config", "clause"),
    [
        ({"backbone": "resnet50"}, "backbone names another model, 'resnet50'"),
        ({"backbone": "/etc"}, "backbone names another model, '/etc'"),
        ({"vision_config": {"encoder": {"backbone": "a/b"}}}, "vision_config.encoder.backbone names"),
        ({"backbone_config": {"model_type": "timm_backbone", "backbone": "hf-hub:a/b"}}, "backbone_config.backbone"),
        ({"model_type": "timm_backbone", "backbone": "local-dir:/etc"}, "backbone names"),
        ({"model_type": "timm_wrapper", "architecture": "hf-hub:a/b"}, "architecture names"),
        ({"backbone_config": {"model_type": "timm_backbone", "backbone": "resnet50.a1_in1k"}}, None),
        ({"model_type": "timm_wrapper", "architecture": "vit_base_patch16_224"}, None),
        ({"architecture": "hf-hub:a/b", "backbone": None, "backbone_hidden_size": 4}, None),
    ],
)
def test_names_that_lead_elsewhere(config: dict[str, Any], clause: str | None) -> None:
    found = foreign_source(config)
    assert found is None if clause is None else found is not None and found.startswith(clause)
