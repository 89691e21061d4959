"""What becomes of odd repositories: information, download, import and adoption agree, before a byte is fetched."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hub.hub_faults import HubFaults, serve
from modelyard.core.database import Database
from modelyard.core.errors import HubMisbehaved, InvalidRepository, InvalidRequest, ModelyardError, NoWeights
from modelyard.core.paths import PathRules
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.client import HubClient
from modelyard.hub.model_info import HubModel
from modelyard.hub.server.app import create_hub_app
from modelyard.hub.server.metadata import licence_of
from modelyard.models import JobControl, Model
from modelyard.schemas.cache import ModelImportRequest
from modelyard.schemas.download import ModelDownloadRequest
from modelyard.schemas.system import SettingsUpdate
from modelyard.services import architecture_service, local_model_service
from modelyard.services.facts.folder_content import list_importable
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.jobs.control import JobProgress
from modelyard.services.local_model_service import LocalModelService
from modelyard.services.model_files import new_manifest
from modelyard.services.settings_service import SettingsService
from services.cache import COMMIT, MODEL_ID, new_row, store
from support.folder_hub import FolderSource
from support.odd_repositories import CARDS, INDEX, ODD, write_odd

ONLY_HERE = ("pointer", "cut-short", "overlap")
"""A Hub's own listing says otherwise; such files are read by the download alone, if at all."""

SHARDED = ("shards", "index-six-digits", "index-in-folder", "index-and-stray", "index-large")
ON_A_HUB = [name for name in ODD if name not in ONLY_HERE]


class Reporter:
    """Lets a job go on."""

    def report(self, progress: JobProgress) -> None:
        """Take no notice."""

    def control(self) -> JobControl:
        return JobControl.RUN


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("odd")
    folders = {f"odd__{name}": write_odd(name, folder / name) for name in ON_A_HUB}
    with serve(HubFaults(create_hub_app([FolderSource(**folders)], api_key=None))) as endpoint:
        yield endpoint


@pytest.fixture
def service(database: Database, served: str) -> HuggingFaceModelService:
    with database.session() as session:
        SettingsService(session).update(SettingsUpdate(endpoint=served))
    return HuggingFaceModelService(database)


@pytest.mark.parametrize("name", ON_A_HUB)
def test_information_and_download_say_the_same(name: str, service: HuggingFaceModelService) -> None:
    words = ODD[name][1]
    model_id = f"odd/{name}"
    try:
        info = service.get_model_info(model_id)
    except InvalidRepository as error:
        said = error.message
    else:
        said = " ".join(reason.message for reason in info.support.reasons)
        assert (info.support.level == "unsupported") == (words is not None)
        assert info.size_bytes == sum(file.size_bytes or 0 for file in info.files if file.fetch)
        fetched = {file.path for file in info.files if file.fetch}
        assert "optimizer.safetensors" not in fetched
        assert (INDEX in fetched) == (name in SHARDED)
    if words is None:
        row_id = service.start_download(ModelDownloadRequest(model_id=model_id))
        with service.database.reading() as session:
            licence = session.get_one(Model, row_id).licence
        assert (licence or "").startswith("as you like") == (name == "card-long-licence")
        return
    assert words in said
    with pytest.raises(ModelyardError, match=r".") as refused:
        service.start_download(ModelDownloadRequest(model_id=model_id))
    assert refused.value.code in ("no_weights", "invalid_repository")
    assert words in refused.value.message


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("name", "fetched"), [("cut-short", True), ("overlap", False)])
def test_a_download_refuses_weights_that_their_header_contradicts(
    database: Database, tmp_path: Path, name: str, fetched: bool
) -> None:
    """Before their bytes are fetched, where the header alone shows it."""
    folder = write_odd(name, tmp_path / name)
    with serve(HubFaults(create_hub_app([FolderSource(odd__model=folder)], api_key=None))) as endpoint:
        with database.session() as session:
            SettingsService(session).update(SettingsUpdate(endpoint=endpoint))
        service = HuggingFaceModelService(database)
        row_id = service.start_download(ModelDownloadRequest(model_id="odd/model"))
        with database.reading() as session:
            row = session.get_one(Model, row_id)
        with pytest.raises((NoWeights, InvalidRepository), match=ODD[name][1]):
            service.download_model(row, Reporter())
    assert (service.cache.snapshot_path(row.model_id, row.commit) / "model.safetensors").exists() == fetched


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("listed", ["config.json", "./tokenizer.json"])
def test_information_refuses_the_listings_that_a_download_refuses(
    service: HuggingFaceModelService, monkeypatch: pytest.MonkeyPatch, listed: str
) -> None:
    read = HubClient.model_info

    def with_one_more(client: HubClient, model_id: str, revision: str | None = None) -> HubModel:
        model = read(client, model_id, revision)
        return replace(model, files=(*model.files, replace(model.files[0], path=listed)))

    monkeypatch.setattr(HubClient, "model_info", with_one_more)
    with pytest.raises(HubMisbehaved, match="The Hub lists") as told:
        service.get_model_info("odd/plain")
    with pytest.raises(HubMisbehaved) as refused:
        service.start_download(ModelDownloadRequest(model_id="odd/plain"))
    assert told.value.message == refused.value.message


@pytest.mark.parametrize("name", ODD)
def test_an_import_refuses_what_cannot_be_loaded(name: str, tmp_path: Path) -> None:
    words, folder = ODD[name][1], write_odd(name, tmp_path / "model")
    if words is None:
        files = list_importable(folder, PathRules.of_this_user())
        assert "optimizer.safetensors" not in files
        return
    with pytest.raises(ModelyardError) as refused:
        list_importable(folder, PathRules.of_this_user())
    assert refused.value.code in ("no_weights", "invalid_repository")
    assert words in refused.value.message


@pytest.mark.parametrize("name", ["\x1b[31m.json", "\udcff.json"])
def test_an_import_names_the_file_whose_name_cannot_be_kept(name: str, tmp_path: Path) -> None:
    folder = write_odd("plain", tmp_path / "model")
    (folder / name).write_text("{}")
    with pytest.raises(InvalidRequest, match=r"in .* cannot be a file of a model: it holds invisible") as refused:
        list_importable(folder, PathRules.of_this_user())
    assert ascii(name) in refused.value.message
    assert "Rename" in (refused.value.hint or "")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ODD)
def test_an_adoption_refuses_what_cannot_be_loaded(
    name: str, tmp_path: Path, cache: HubCache, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, folder = ODD[name][1], write_odd(name, tmp_path / "model")
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    store(cache, contents=contents)
    monkeypatch.setattr(local_model_service, "hub_cache", lambda: cache)
    service = LocalModelService(database)
    if words is None:
        assert service.start_import(ModelImportRequest(cached=MODEL_ID))
        return
    with pytest.raises(ModelyardError) as refused:
        service.start_import(ModelImportRequest(cached=MODEL_ID))
    assert refused.value.code in ("no_weights", "invalid_repository")
    assert f"{MODEL_ID} in the cache cannot be used as it is: " in refused.value.message
    assert words in refused.value.message


@pytest.mark.parametrize("name", CARDS)
def test_the_licence_of_a_folder_is_what_a_row_can_keep(name: str, tmp_path: Path) -> None:
    licence = licence_of(write_odd(name, tmp_path / "model"))
    assert licence is None if name != "card-long-licence" else licence is not None and len(licence) == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_modules_of_a_sentence_transformer_are_fetched_and_not_counted(
    service: HuggingFaceModelService, cache: HubCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, plain = service.get_model_info("odd/sentences"), service.get_model_info("odd/plain")
    fetched = {file.path: file.size_bytes or 0 for file in info.files if file.fetch}
    modules = {path: size for path, size in fetched.items() if "/" in path or path == "modules.json"}
    assert {"1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"} <= set(modules)
    assert not any(path.endswith(".bin") for path in fetched)
    assert [warning[:41] for warning in info.warnings if "Dense" in warning or "LayerNorm" in warning] == [
        "The weights of 3_LayerNorm are a pickle f"
    ]
    assert info.size_bytes == plain.size_bytes + sum(modules.values())
    assert info.num_parameters == plain.num_parameters

    folder = write_odd("sentences", tmp_path / "model")
    contents = {name: (folder / name).read_bytes() for name in fetched}
    monkeypatch.setattr(architecture_service, "hub_cache", lambda: cache)
    files = store(cache, contents=contents)
    with service.database.session() as session:
        row = new_row(session, cache)
        row.files = new_manifest(row, files, cache.inventory(MODEL_ID, COMMIT, files))
        checkpoint = architecture_service.local_checkpoint(row)
    assert "linear.weight" not in {tensor.name for tensor in checkpoint.tensors}
    assert sum(tensor.elements for tensor in checkpoint.tensors) == plain.num_parameters
    assert checkpoint.unscaled is None
