"""A bundle is hostile until it is checked: whatever was changed in it is refused, and nothing else."""

import hashlib
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from modelyard.core import bundle_tar
from modelyard.core.errors import InvalidBundle, ModelyardError
from modelyard.core.paths import PathRules
from modelyard.services.bundles import reader as reader_module
from modelyard.services.bundles.manifest import BundleManifest, parse_manifest
from modelyard.services.bundles.reader import find_parts, opened_bundle
from modelyard.services.bundles.writer import PartsWriter

CONTENTS: dict[str, bytes] = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": bytes(range(256)) * 9,
    "README.md": b"",
    "additional_chat_templates/tool.jinja": b"{{ x }}",
}
RULES = PathRules(own=(), anywhere=True)


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def model(contents: Mapping[str, bytes] = CONTENTS, **fields: Any) -> dict[str, Any]:
    files = [
        {
            "path": path,
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "git_sha1": None if path.endswith(".safetensors") else git_sha1(content),
        }
        for path, content in contents.items()
    ]
    return {
        "model_id": "owner/name",
        "canonical_id": "owner/name",
        "endpoint": "https://huggingface.co",
        "commit": "a" * 40,
        "revision": "main",
        "refs": ["main"],
        "kind": "model",
        "private": False,
        "gated": False,
        "allow_pickle": False,
        "licence": "mit",
        "num_parameters": 1,
        "converted_from": None,
        "merged_from": None,
        "files": files,
        "quantized": [],
        **fields,
    }


def manifest(*models: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"format": "modelyard-bundle", "version": 1, "models": models or [model()], **fields}).encode()


def bundle_bytes(content: bytes, contents: Mapping[str, bytes] = CONTENTS) -> bytes:
    """The bytes of a bundle with this manifest, put together without the code that is tested."""

    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 512)

    line = bundle_tar.checksum_line(hashlib.sha256(content).hexdigest())
    pieces = [bundle_tar.header(bundle_tar.MANIFEST_NAME, len(content)), padded(content)]
    pieces += [bundle_tar.header(bundle_tar.CHECKSUM_NAME, len(line)), padded(line)]
    for path, data in contents.items():
        blob = hashlib.sha256(data).hexdigest() if path.endswith(".safetensors") else git_sha1(data)
        pieces += [bundle_tar.header(f"blobs/{blob}", len(data)), padded(data)]
    return b"".join(pieces) + bytes(1024)


def read_all(path: Path) -> dict[str, bytes]:
    with opened_bundle(str(path), RULES) as bundle:
        return {
            member.blob: b"".join(chunks)
            for member, chunks in bundle.contents(lambda _member: True)
            if chunks is not None
        }


GOOD = bundle_bytes(manifest())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundle") / "b.tar"


def test_a_bundle_is_read_whole_and_by_tar(file: Path) -> None:
    file.write_bytes(GOOD)
    assert sorted(read_all(file).values()) == sorted(CONTENTS.values())
    assert bundle_tar.is_bundle(file)
    with tarfile.open(file) as tar:
        names = tar.getnames()
    assert names[:2] == ["modelyard-bundle.json", "modelyard-bundle.sha256"]
    assert len(names) == 2 + len(CONTENTS)


@pytest.mark.parametrize("field", ["files", "refs", "quantized"])
def test_a_list_of_mistakes_is_left_at_the_first(field: str) -> None:
    """All mistakes of a list would take gigabytes."""
    mistaken: dict[str, Any] = {field: [0] * 1000}
    with pytest.raises(InvalidBundle) as error:
        parse_manifest(manifest(model(**mistaken)))
    assert isinstance(error.value.__cause__, ValidationError)
    assert error.value.__cause__.error_count() < 5


@settings(max_examples=300)
@given(place=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 7))
def test_every_flipped_bit_is_refused(file: Path, place: int, bit: int) -> None:
    changed = bytearray(GOOD)
    changed[place] ^= 1 << bit
    file.write_bytes(changed)
    with pytest.raises(InvalidBundle):
        read_all(file)


@settings(max_examples=100)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=0, max_size=700))
def test_what_is_cut_off_put_in_or_put_behind_is_refused(file: Path, place: int, more: bytes) -> None:
    file.write_bytes(GOOD[:place] + more)
    if GOOD[:place] + more != GOOD:
        with pytest.raises(InvalidBundle):
            read_all(file)
    file.write_bytes(GOOD + b"x" + more)
    with pytest.raises(InvalidBundle):
        read_all(file)


@settings(max_examples=200)
@given(st.binary(max_size=3000))
def test_anything_at_all_is_refused_without_another_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(InvalidBundle):
        read_all(file)


TRICKS = {
    "a link": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "a hard link": {"type": tarfile.LNKTYPE, "linkname": "blobs/x"},
    "a device": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
    "a fifo": {"type": tarfile.FIFOTYPE},
    "a folder": {"type": tarfile.DIRTYPE},
    "a sparse file": {"type": tarfile.GNUTYPE_SPARSE},
    "another name": {"name": "../../escape"},
    "an absolute name": {"name": "/etc/cron.d/x"},
    "a larger size": {"size": 1 << 40},
}


@pytest.mark.parametrize("changes", TRICKS.values(), ids=list(TRICKS))
def test_a_member_that_is_no_plain_file_of_the_manifest_is_refused(file: Path, changes: dict[str, Any]) -> None:
    content = CONTENTS["config.json"]
    plain = bundle_tar.header(f"blobs/{git_sha1(content)}", len(content))
    info = tarfile.TarInfo.frombuf(plain, "utf-8", "strict")
    for name, value in changes.items():
        setattr(info, name, value)
    file.write_bytes(GOOD.replace(plain, info.tobuf(tarfile.GNU_FORMAT), 1))
    with pytest.raises(InvalidBundle, match=r"something else where config\.json of owner/name"):
        read_all(file)


def test_pax_headers_are_refused(file: Path) -> None:
    content = CONTENTS["config.json"]
    plain = bundle_tar.header(f"blobs/{git_sha1(content)}", len(content))
    info = tarfile.TarInfo.frombuf(plain, "utf-8", "strict")
    info.pax_headers = {"path": "../../escape", "size": "99999999999"}
    file.write_bytes(GOOD.replace(plain, info.tobuf(tarfile.PAX_FORMAT), 1))
    with pytest.raises(InvalidBundle):
        read_all(file)


def test_a_member_that_comes_twice_is_refused(file: Path) -> None:
    content = CONTENTS["config.json"]
    plain = bundle_tar.header(f"blobs/{git_sha1(content)}", len(content)) + content.ljust(512, b"\0")
    file.write_bytes(GOOD.replace(plain, plain + plain, 1))
    with pytest.raises(InvalidBundle):
        read_all(file)


def test_a_manifest_of_a_gigabyte_is_not_read(file: Path) -> None:
    with file.open("wb") as hostile:
        hostile.write(bundle_tar.header(bundle_tar.MANIFEST_NAME, 1_000_000_000))
        hostile.truncate(1_000_001_024)
    with pytest.raises(InvalidBundle, match="larger than 64 MB"):
        read_all(file)


def _with_path(path: str) -> dict[str, Any]:
    files = model()["files"]
    return model(files=[*files, files[0] | {"path": path}])


HOSTILE: dict[str, tuple[bytes, str]] = {
    "a path that escapes": (manifest(_with_path("../../../etc/x.json")), "empty, . or .."),
    "an absolute path": (manifest(_with_path("/etc/x.json")), "empty, . or .."),
    "a path of git": (manifest(_with_path(".git/config.json")), "belongs to git"),
    "a path twice": (manifest(_with_path("config.json")), "twice"),
    "the same path on some disks": (manifest(_with_path("CONFIG.json")), "same file on some disks"),
    "code": (manifest(_with_path("modeling.py")), "never run"),
    "a pickle without consent": (manifest(_with_path("pytorch_model.bin")), "pickle"),
    "a repository that is none": (manifest(model(model_id="../x")), "model_id"),
    "an endpoint that is none": (manifest(model(endpoint="file:///etc")), "endpoint"),
    "an endpoint with a password": (manifest(model(endpoint="https://me:pw@host")), "endpoint"),
    "a commit that is none": (manifest(model(commit="main")), "commit"),
    "a commit with a line behind it": (manifest(model(commit="a" * 40 + "\n")), "commit"),
    "a ref that escapes": (manifest(model(refs=["../../main"])), "refs"),
    "a negative size": (manifest(model(files=[model()["files"][0] | {"size": -1}])), "size"),
    "a size that is no number": (manifest(model(files=[model()["files"][0] | {"size": "9"}])), "size"),
    "a hash that is none": (manifest(model(files=[model()["files"][0] | {"sha256": "x" * 64}])), "sha256"),
    "two contents of one hash": (
        manifest(model(), model(commit="b" * 40, files=[model()["files"][0] | {"sha256": "0" * 64}])),
        "two contents",
    ),
    "a commit twice": (manifest(model(), model()), "twice"),
    "no model": (manifest(models=[]), "models"),
    "nothing of a model": (manifest(model(files=None)), "neither"),
    "a field that no version has": (manifest(model(run="x")), "run"),
    "a later version": (manifest(version=2), "version 2"),
    "deep lists": (b"[" * 100_000 + b"]" * 100_000, "not"),
    "a million lists": (b"[" + b"[]," * 1_000_000 + b"[]]", "more than 500,000 values"),
    "no JSON": (b"\xff\xfe", "not JSON"),
    "a copy without a manifest": (
        manifest(model(quantized=[{"quantization": "4bit", "files": [model()["files"][0]]}])),
        "without its",
    ),
}


@pytest.mark.parametrize(("content", "said"), HOSTILE.values(), ids=list(HOSTILE))
def test_what_a_manifest_may_not_say(file: Path, content: bytes, said: str) -> None:
    with pytest.raises(InvalidBundle, match=said):
        parse_manifest(content)
    file.write_bytes(bundle_bytes(content))
    with pytest.raises(InvalidBundle):
        read_all(file)


@settings(max_examples=300)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    ),
    st.sampled_from(sorted(model())),
)
def test_a_field_of_any_kind_is_refused_or_understood(value: Any, field: str) -> None:
    try:
        parsed = parse_manifest(manifest(model(**{field: value})))
    except InvalidBundle:
        return
    assert isinstance(parsed, BundleManifest)


@pytest.mark.parametrize("split", [600, 5000, len(GOOD)])
def test_parts(tmp_path: Path, split: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "CHUNK_BYTES", 100)
    content = bundle_bytes(manifest(split_bytes=split))
    sizes = bundle_tar.part_sizes(len(content), split)
    names = [bundle_tar.part_name("b.tar", number, len(sizes)) for number in range(1, len(sizes) + 1)]
    for index, name in enumerate(names):
        (tmp_path / name).write_bytes(content[index * split :][:split])
    for asked in {"b.tar", names[0], names[-1]}:
        assert sorted(read_all(tmp_path / asked).values()) == sorted(CONTENTS.values())
    (tmp_path / names[-1]).unlink()
    with pytest.raises(ModelyardError):
        read_all(tmp_path / names[0])


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    content = bundle_bytes(manifest(split_bytes=5000))
    for number in (1, 2):
        (tmp_path / f"b.tar.00{number}").write_bytes(content[(number - 1) * 5000 :][:5000])
    if len(content) > 10_000:
        with pytest.raises(InvalidBundle, match="part 3 is not there"):
            read_all(tmp_path / "b.tar.001")
    (tmp_path / "b.tar.001").write_bytes(content[:4999])
    with pytest.raises(InvalidBundle, match=r"b\.tar\.001"):
        read_all(tmp_path / "b.tar.001")


def test_a_bundle_of_more_than_eight_gigabytes_has_a_header_that_tar_reads() -> None:
    block = bundle_tar.header("blobs/x", 20_000_000_000)
    assert tarfile.TarInfo.frombuf(block, "utf-8", "strict").size == 20_000_000_000
    assert len(block) == 512


def test_a_path_that_is_not_allowed_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "b.tar"
    file.write_bytes(GOOD)
    rules = PathRules(own=(), named=(tmp_path / "other",))
    with pytest.raises(ModelyardError) as refused:
        find_parts(file, rules)
    assert refused.value.code == "path_not_allowed"


@settings(max_examples=60)
@given(
    split=st.integers(400, 6000),
    steps=st.lists(st.tuples(st.integers(1, 3000), st.booleans(), st.booleans()), max_size=6),
)
def test_a_writer_that_dies_at_any_byte_is_followed_by_one_that_goes_on(
    tmp_path_factory: pytest.TempPathFactory, split: int, steps: list[tuple[int, bool, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    content = bytes(range(250)) * 20
    sizes = bundle_tar.part_sizes(len(content), split)
    names = [f"p{number}" for number in range(len(sizes))]
    for step, synced, garbage in steps:
        writer = PartsWriter(folder, names, sizes)  # nothing is closed: what is in its buffer may be lost
        if writer.offset == len(content):
            break
        writer.write(content[writer.offset :][:step])
        if synced:
            writer.sync()
        del writer
        for path in folder.glob("p*") if garbage else ():
            if path.stat().st_size < sizes[int(path.name[1:])]:
                path.write_bytes(path.read_bytes() + b"garbage")
    with PartsWriter(folder, names, sizes) as writer:
        writer.write(content[writer.offset :])
    assert b"".join((folder / name).read_bytes() for name in names) == content
    assert writer.hashes == [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]
