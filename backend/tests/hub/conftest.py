"""Hubs to talk to: one with the sample models, one with what this instance stores. The samples are made once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.utils import _http

from modelyard.hub.server.app import create_hub_app
from modelyard.hub.server.samples import SampleSource
from support.samples import sample_models

from .hub_faults import serve


@pytest.fixture(scope="session")
def samples_folder() -> Path:
    """The finished sample models. Not to be changed."""
    return sample_models()


@pytest.fixture(scope="session")
def sample_hub(samples_folder: Path) -> Iterator[str]:
    """The address of a Hub with the sample models."""
    with serve(create_hub_app([SampleSource(samples_folder)], api_key=None)) as endpoint:
        yield endpoint


@pytest.fixture
def stock_client() -> Iterator[None]:
    """huggingface_hub as any program has it; our own client caps the answers of the whole process."""
    ours = _http._GLOBAL_CLIENT_FACTORY
    _http.set_client_factory(_http.default_client_factory)
    yield
    _http.set_client_factory(ours)
