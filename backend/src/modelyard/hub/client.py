"""Asking a Hub about models: huggingface_hub does the talking, its errors become ours.

Nothing a Hub answers is believed as it comes: its size, the time it takes, its shape and its values have limits.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx2
from huggingface_hub import HfApi, ModelInfo, constants, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    NotASafetensorsRepoError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import (
    SafetensorsFileMetadata,
    TensorInfo,
    build_hf_headers,
    get_session,
    hf_raise_for_status,
    set_client_factory,
)
from huggingface_hub.utils import validate_repo_id as validate_name
from huggingface_hub.utils._http import hf_request_event_hook

from modelyard.core.errors import (
    DiskFull,
    GatedNotAccepted,
    GatedNoToken,
    HubError,
    HubMisbehaved,
    HubModelNotFound,
    HubRateLimited,
    HubUnreachable,
    InvalidRepository,
    InvalidRequest,
    RevisionNotFound,
    StorageDenied,
    TokenInvalid,
    TooManyFiles,
)
from modelyard.core.settings import get_settings
from modelyard.hub.connections import HubTransport
from modelyard.hub.deadlines import ANSWER_SECONDS, within
from modelyard.hub.licence import licence_name
from modelyard.hub.names import validate_repo_id, validate_revision
from modelyard.hub.network_check import not_an_address
from modelyard.hub.origins import AskedHub, asking, keep_token_with_its_hub
from modelyard.hub.retry import (
    HUB_IN_TROUBLE,
    RetryPolicy,
    as_transient,
    call_with_retries,
    is_untrusted_certificate,
)
from modelyard.hub.server.samples import CATALOGUE, SAMPLE_TAG, SAMPLES_BYTES
from modelyard.hub.tls import untrusted_hint
from modelyard.hub.tokens import missing_token_note, token_for

METADATA_TIMEOUT_SECONDS = 10.0
# Somebody waits for the answer; work in the background has patience of its own.
IMPATIENT = RetryPolicy(attempts=3, max_wait_seconds=2.0)
PATIENCE_SECONDS = 5.0
MAX_ANSWER_SECONDS = 60.0
MAX_ANSWER_BYTES = 20_000_000
MAX_HEADER_ANSWER_BYTES = constants.SAFETENSORS_MAX_HEADER_LENGTH + 8
MAX_FILES = 10_000
"""Of one repository. Every one of them is looked at, linked, stored and listed, and no model has so many."""
HEADER_READERS = 8
# What fits a database's integer and a JSON number in a browser.
_MAX_NUMBER = 2**53

Answer = TypeVar("Answer")
Access = Literal["open", "accepted", "needs_acceptance", "no_token", "token_invalid", "unknown"]
TokenState = Literal["none", "valid", "invalid", "unknown"]


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at one commit; large files carry a sha256, small ones git's blob hash."""

    path: str
    size_bytes: int | None
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True)
class HubModel:
    """What a Hub says of a repository at one commit."""

    model_id: str
    canonical_id: str
    commit: str
    files: tuple[HubFile, ...]
    gated: bool
    tags: tuple[str, ...]
    licence: str | None
    pipeline_tag: str | None
    downloads: int | None
    likes: int | None
    last_modified: datetime | None
    parameters_by_dtype: dict[str, int]
    private: bool = False

    @property
    def num_parameters(self) -> int | None:
        """As the Hub counted the weight files' elements; None where it did not, or where they are packed."""
        return _number(sum(self.parameters_by_dtype.values())) or None


@dataclass(frozen=True)
class BranchState:
    """Where a branch stands now, and whether its repository is shown to some accounts only."""

    commit: str
    private: bool


@dataclass(frozen=True)
class HubSearchHit:
    model_id: str
    downloads: int | None
    likes: int | None
    num_parameters: int | None
    size_bytes: int | None
    gated: bool
    pipeline_tag: str | None
    is_sample: bool


class HubClient:
    """One Hub. `token`: None for the one stored for this Hub, False for none, or a string.

    `is_builtin` says that the Hub is a part of this server, with nothing but the sample models and what is here.
    """

    def __init__(
        self,
        endpoint: str,
        token: str | Literal[False] | None = None,
        *,
        timeout_seconds: float = METADATA_TIMEOUT_SECONDS,
        is_builtin: bool = False,
    ) -> None:
        _limit_answers()
        self.endpoint = endpoint.rstrip("/")
        self.timeout_seconds = timeout_seconds
        self.is_builtin = is_builtin
        self._token = token

    @property
    def token(self) -> str | Literal[False]:
        """What is sent with requests; never None, for which huggingface_hub would take a token of another Hub."""
        return (token_for(self.endpoint) or False) if self._token is None else self._token

    @property
    def _api(self) -> HfApi:
        return HfApi(endpoint=self.endpoint, token=self.token)

    def model_info(self, model_id: str, revision: str | None = None) -> HubModel:
        """Resolve a revision to a commit and list its files.

        Raises InvalidRequest, HubModelNotFound, RevisionNotFound, TokenInvalid, HubUnreachable, HubRateLimited,
        HubMisbehaved.
        """
        if revision is not None:
            validate_revision(revision)

        def ask() -> HubModel:
            answer = self._get_model(model_id, revision, blobs=True)
            card = answer.pop("cardData", None)
            licence = licence_name(card.get("license")) if isinstance(card, dict) else None
            return _as_hub_model(model_id, ModelInfo(**answer), licence)  # type: ignore[no-untyped-call]

        return self._ask(ask, model_id, revision)

    def branch_state(self, model_id: str, revision: str) -> BranchState:
        """Where a branch or tag stands now; the smallest question there is. Raises as `model_info` does."""
        validate_revision(revision)

        def ask() -> BranchState:
            answer = self._get_model(model_id, revision, expand=["sha", "private"])
            return BranchState(_commit_of(model_id, answer.get("sha")), bool(answer.get("private")))

        return self._ask(ask, model_id, revision)

    def _get_model(self, model_id: str, revision: str | None, **params: Any) -> dict[str, Any]:
        """What a Hub's API says of a repository.

        Not `HfApi.model_info`: it takes for granted what authors write into a card, and fails on anything else.
        """
        validate_name(model_id)
        url = f"{self.endpoint}/api/models/{model_id}"
        if revision is not None:
            url += f"/revision/{quote(revision, safe='')}"
        answer = json.loads(self._get(url, params=params).content)
        if not isinstance(answer, dict):
            raise HubMisbehaved(f"{self.endpoint} answers, but not as a Hub does.")
        return answer

    def access(self, model: HubModel) -> Access:
        """Whether this token may fetch the files of a gated model."""
        if not model.gated:
            return "open"
        try:
            self._ask(lambda: self._api.auth_check(model.model_id), model.model_id, None)
        except GatedNoToken:
            return "no_token"
        except (GatedNotAccepted, HubModelNotFound):
            return "needs_acceptance"
        except TokenInvalid:
            return "token_invalid"
        except (HubUnreachable, HubRateLimited, HubMisbehaved):
            return "unknown"
        return "accepted"

    def search(self, query: str, limit: int, sort: str = "downloads") -> list[HubSearchHit]:
        """Models whose id matches; the most of `sort`, a key of the Hub's own, first."""
        params: dict[str, Any] = {
            "sort": sort,
            "limit": limit,
            "expand": ["config", "downloads", "likes", "gated", "pipeline_tag", "safetensors", "usedStorage", "tags"],
        }
        params |= {"search": query} if query else {"pipeline_tag": "text-generation"}

        def ask() -> list[HubSearchHit]:
            # Not `list_models`: its own five retries make a person wait half a minute for a Hub that is away, and it
            # follows a misbehaving Hub from page to page for ever.
            answer = json.loads(self._get(f"{self.endpoint}/api/models", params=params).content)
            if not isinstance(answer, list):
                raise HubMisbehaved(f"{self.endpoint} answers, but not as a Hub does.")
            return [_as_hit(ModelInfo(**item)) for item in answer[:limit]]  # type: ignore[no-untyped-call]

        return self._ask(ask, "", None)

    def read_small_file(
        self, model_id: str, commit: str, path: str, *, limit_bytes: int = MAX_ANSWER_BYTES
    ) -> bytes | None:
        """The content of a file of a repository, or None where there is none. Raises as `model_info` does."""
        url = hf_hub_url(model_id, path, revision=commit, endpoint=self.endpoint)

        def ask() -> bytes | None:
            try:
                with _taking(limit_bytes):
                    return self._get(url).content
            except EntryNotFoundError:
                return None

        return self._ask(ask, model_id, commit)

    def read_range(self, model_id: str, commit: str, path: str, start: int, stop: int) -> bytes:
        """The bytes of a file from `start` to `stop` (exclusive), a few kilobytes. Raises as `model_info` does."""
        url = hf_hub_url(model_id, path, revision=commit, endpoint=self.endpoint)

        def ask() -> bytes:
            response = self._get(url, byte_range=f"bytes={start}-{stop - 1}")
            if response.status_code != 206 or len(response.content) != stop - start:
                raise HubMisbehaved(f"{self.endpoint} sent another part of {path} than asked for.")
            content: bytes = response.content
            return content

        return self._ask(ask, model_id, commit)

    def safetensors_headers(self, model_id: str, commit: str, paths: list[str]) -> list[SafetensorsFileMetadata]:
        """The headers of weight files, read with Range requests, in the order given."""

        def read(path: str) -> SafetensorsFileMetadata:
            def ask() -> SafetensorsFileMetadata:
                with _taking(MAX_HEADER_ANSWER_BYTES):
                    header = self._api.parse_safetensors_file_metadata(
                        model_id, path, revision=commit, timeout=self.timeout_seconds
                    )
                if not all(_is_plausible(tensor) for tensor in header.tensors.values()):
                    raise HubMisbehaved(f"The header of {path} in {model_id} names impossible tensors.")
                return header

            return self._ask(ask, model_id, commit)

        with ThreadPoolExecutor(HEADER_READERS) as pool:
            # Each in a context of its own, for the deadline of this call.
            reading = [pool.submit(copy_context().run, read, path) for path in paths]
            try:
                return [future.result() for future in reading]
            except (HubError, InvalidRepository):
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def user(self) -> tuple[TokenState, str | None]:
        """The state of the token and the name of its owner."""
        if not self.token:
            return "none", None
        try:
            with within(self.timeout_seconds):
                name = self._ask(self._api.whoami, "", None).get("name")
        except TokenInvalid:
            return "invalid", None
        except (HubUnreachable, HubRateLimited, HubMisbehaved, HubModelNotFound):
            return "unknown", None
        return "valid", _text(name)

    def check(self, timeout_seconds: float) -> None:
        """Raise HubUnreachable, or another HubError, unless a Hub answers at the endpoint. Asks once."""
        with self._translated("", None), within(timeout_seconds):
            response = self._get(f"{self.endpoint}/api/models", params={"limit": 1}, timeout_seconds=timeout_seconds)
            if not isinstance(json.loads(response.content), list):
                raise HubMisbehaved(f"{self.endpoint} answers, but not as a Hub does.")

    def _get(
        self,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
        byte_range: str | None = None,
    ) -> httpx2.Response:
        headers = build_hf_headers(token=self.token)
        if byte_range is not None:
            headers["Range"] = byte_range
        response = get_session().get(
            url,
            params=params,
            headers=headers,
            timeout=timeout_seconds or self.timeout_seconds,
        )
        hf_raise_for_status(response)
        return response

    def _ask(self, call: Callable[[], Answer], model_id: str, revision: str | None) -> Answer:
        """`call()`, again while its failure may pass and the user still waits; its errors become ours."""
        end = time.monotonic() + PATIENCE_SECONDS

        def within_patience(seconds: float, _reason: str) -> None:
            if time.monotonic() + seconds > end:
                raise  # the failure that is being handled

        with self._translated(model_id, revision):
            if constants.is_offline_mode():
                raise OfflineModeIsEnabled
            return call_with_retries(call, policy=IMPATIENT, on_wait=within_patience)

    @contextmanager
    def _translated(self, model_id: str, revision: str | None) -> Iterator[None]:
        with (
            translate_hub_errors(
                self.endpoint, model_id, revision, has_token=self.has_token, is_builtin=self.is_builtin
            ),
            asking(AskedHub(self.endpoint)),
            within(MAX_ANSWER_SECONDS + self.timeout_seconds),
        ):
            yield

    def within_patience(self) -> AbstractContextManager[None]:
        """Everything asked in this context together takes no longer than somebody at a page waits."""
        return within(ANSWER_SECONDS + self.timeout_seconds)

    def has_token(self) -> bool:
        """Whether a token would be sent, valid or not."""
        return bool(self.token)

    def missing_token_note(self) -> str | None:
        """As `tokens.missing_token_note`, where the stored tokens decide."""
        return None if self._token is not None else missing_token_note(self.endpoint)


@contextmanager
def translate_hub_errors(
    endpoint: str,
    model_id: str,
    revision: str | None,
    *,
    has_token: Callable[[], bool],
    is_builtin: bool = False,
) -> Iterator[None]:
    """Turn what huggingface_hub and its HTTP client raise into the errors of `core.errors`."""
    try:
        yield
    except GatedRepoError as error:
        if _is_invalid_token(error):
            raise TokenInvalid(f"{endpoint} does not accept the stored token.") from error
        page = f"{endpoint}/{model_id}"
        if not has_token():
            raise GatedNoToken(f"{model_id} is gated and there is no token for {endpoint}.", url=page) from error
        raise GatedNotAccepted(f"{model_id} is gated and its terms are not accepted yet.", url=page) from error
    except RevisionNotFoundError as error:
        raise RevisionNotFound(f"{model_id} has no revision {revision!r}.") from error
    except RepositoryNotFoundError as error:
        if _is_invalid_token(error):
            raise TokenInvalid(f"{endpoint} does not accept the stored token.") from error
        if not model_id:
            raise HubMisbehaved(f"{endpoint} answers, but not as a Hub does.") from error
        if is_builtin:
            raise HubModelNotFound(
                f"There is no model {model_id!r} on the built-in sample Hub.", hint=_only_samples()
            ) from error
        raise HubModelNotFound(f"There is no model {model_id!r} on {endpoint}.") from error
    except HfHubHTTPError as error:
        raise _from_status(error, endpoint, is_builtin=is_builtin) from error
    except LocalTokenNotFoundError as error:
        raise TokenInvalid(f"There is no token for {endpoint}.") from error
    except OfflineModeIsEnabled as error:
        raise HubUnreachable(
            "HF_HUB_OFFLINE is set, so no Hub is asked.", hint="Unset HF_HUB_OFFLINE and restart the server."
        ) from error
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise not_an_address(endpoint) from error
    except (httpx2.LocalProtocolError, UnicodeEncodeError):
        # The token is the only part of a request that may not fit a header. The error's text would show it.
        raise TokenInvalid("The Hub token holds characters that no token has.") from None
    except httpx2.TimeoutException as error:
        raise HubUnreachable(f"{endpoint} did not answer in time.") from error
    except httpx2.TooManyRedirects as error:
        raise HubMisbehaved(f"{endpoint} redirects in circles.") from error
    except httpx2.HTTPError as error:
        transient = as_transient(error)
        raise HubUnreachable(
            f"{endpoint} cannot be reached: {transient.reason if transient else error}.",
            hint=untrusted_hint() if is_untrusted_certificate(error) else None,
        ) from error
    except (NotASafetensorsRepoError, SafetensorsParsingError) as error:
        raise InvalidRepository(
            f"A weight file of {model_id} is damaged or cut short: it has no readable safetensors header.",
            hint="Choose another revision, or tell the repository's author.",
        ) from error
    except HFValidationError as error:
        raise InvalidRequest(
            f"{model_id!r} is not a model's name.", hint="Give owner/name, or a bare name such as gpt2."
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        # huggingface_hub trusts the shape of an answer; a Hub that sends another shape ends here.
        raise HubMisbehaved(f"{endpoint} sent an answer that makes no sense.") from error


def _is_invalid_token(error: HfHubHTTPError) -> bool:
    return "Invalid credentials" in (error.response.headers.get("X-Error-Message") or "")


def _only_samples() -> str:
    names = ", ".join(sample.repo_id for sample in CATALOGUE)
    return (
        f"It has only {names} and what is downloaded already. Settings, or `modelyard hub default`, go back to the"
        " Hugging Face Hub."
    )


def _from_status(error: HfHubHTTPError, endpoint: str, *, is_builtin: bool) -> Exception:
    status = error.response.status_code
    if status == 401:
        return TokenInvalid(f"{endpoint} does not accept the stored token.")
    if status == 403:
        return GatedNotAccepted(f"{endpoint} does not give access with this token.")
    if status == 429:
        return HubRateLimited(f"{endpoint} asks to be called less often.")
    if status == 507 and is_builtin:
        kind = StorageDenied if error.response.headers.get("X-Error-Code") == StorageDenied.code else DiskFull
        message = error.server_message or "The sample models cannot be written."
        return kind(message, folder=str(get_settings().samples_folder), needed_bytes=SAMPLES_BYTES)
    if status >= 500 and is_builtin:
        return HubUnreachable(
            f"The built-in sample Hub could not answer: {error.server_message or f'HTTP {status}'}",
            hint="Details are in the log of the API; ask again once that is mended.",
        )
    if status >= 500:
        return HubUnreachable(f"{endpoint} answers, but with an error (HTTP {status}).", hint=HUB_IN_TROUBLE)
    return HubMisbehaved(f"{endpoint} answered {status}.")


def _commit_of(model_id: str, sha: object) -> str:
    commit = sha if isinstance(sha, str) else ""
    if not (7 <= len(commit) <= 64 and all(c in "0123456789abcdef" for c in commit)):
        raise HubMisbehaved(f"The Hub named no commit for {model_id}.")
    return commit


def _as_hub_model(model_id: str, info: ModelInfo, licence: str | None) -> HubModel:
    commit = _commit_of(model_id, info.sha)
    _require_repo_id(info.id)
    if len(info.siblings or ()) > MAX_FILES:
        raise TooManyFiles(f"{model_id} has {len(info.siblings or ())} files; at most {MAX_FILES} are managed.")
    parameters = info.safetensors.parameters if info.safetensors and not _is_quantized(info) else {}
    return HubModel(
        model_id=model_id,
        canonical_id=info.id,
        commit=commit,
        files=tuple(_as_hub_file(sibling) for sibling in info.siblings or ()),
        gated=bool(info.gated),
        private=bool(info.private),
        tags=tuple(tag for tag in info.tags or () if isinstance(tag, str)),
        licence=licence,
        pipeline_tag=_text(info.pipeline_tag),
        downloads=_number(info.downloads),
        likes=_number(info.likes),
        last_modified=info.last_modified,
        parameters_by_dtype={str(name): count for name, count in parameters.items() if _number(count) is not None},
    )


def _is_quantized(info: ModelInfo) -> bool:
    """Whether the tensors a Hub counts are packed: their elements are not the model's parameters."""
    config = info.config if isinstance(info.config, dict) else {}
    return bool(config.get("quantization_config") or config.get("compression_config"))


def _as_hub_file(sibling: RepoSibling) -> HubFile:
    lfs = sibling.lfs
    size = lfs.size if lfs else sibling.size
    if not isinstance(sibling.rfilename, str) or (size is not None and _number(size) is None):
        raise HubMisbehaved(f"The Hub lists a file without a proper name or size: {ascii(sibling.rfilename)[:100]}.")
    return HubFile(
        path=sibling.rfilename,
        size_bytes=size,
        sha256=_text(lfs.sha256) if lfs else None,
        git_sha1=None if lfs else _text(sibling.blob_id),
    )


def _as_hit(info: ModelInfo) -> HubSearchHit:
    _require_repo_id(info.id)
    return HubSearchHit(
        model_id=info.id,
        downloads=_number(info.downloads),
        likes=_number(info.likes),
        num_parameters=_number(info.safetensors.total) if info.safetensors and not _is_quantized(info) else None,
        size_bytes=_number(info.used_storage),
        gated=bool(info.gated),
        pipeline_tag=_text(info.pipeline_tag),
        is_sample=SAMPLE_TAG in (info.tags or ()),
    )


def _is_plausible(tensor: TensorInfo) -> bool:
    sizes = [_number(size) for size in tensor.shape]
    return isinstance(tensor.dtype, str) and None not in sizes and _number(math.prod(tensor.shape)) is not None


def _require_repo_id(name: object) -> None:
    try:
        validate_repo_id(name if isinstance(name, str) else "")
    except InvalidRequest as error:
        raise HubMisbehaved(f"The Hub calls a model {ascii(name)[:100]}.") from error


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_NUMBER else None


_limit_bytes: ContextVar[int] = ContextVar("limit_bytes", default=MAX_ANSWER_BYTES)


@contextmanager
def _taking(limit_bytes: int) -> Iterator[None]:
    """Take answers of so many bytes in this context: a file that may be as large."""
    token = _limit_bytes.set(limit_bytes)
    try:
        yield
    finally:
        _limit_bytes.reset(token)


class _CappedStream(httpx2.SyncByteStream):
    """Stops reading an answer that is larger, or comes more slowly, than any honest one."""

    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream
        self._end = time.monotonic() + MAX_ANSWER_SECONDS
        self._limit_bytes = _limit_bytes.get()

    def __iter__(self) -> Iterator[bytes]:
        seen = 0
        for chunk in self._stream:
            seen += len(chunk)
            if seen > self._limit_bytes:
                raise HubMisbehaved(f"The Hub sent an answer of more than {self._limit_bytes} bytes.")
            if time.monotonic() > self._end:
                raise HubUnreachable(f"The Hub did not finish its answer within {MAX_ANSWER_SECONDS:.0f} seconds.")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _cap_answer(response: httpx2.Response) -> None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        # Not asked for, and a few bytes of it may unfold to fill the memory.
        raise HubMisbehaved("The Hub compressed an answer it was asked to send as it is.")
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _CappedStream(response.stream)


@cache
def _limit_answers() -> None:
    # A hostile Hub must not fill the memory of the process; file contents do not come this way.
    def factory() -> httpx2.Client:
        return httpx2.Client(
            event_hooks={"request": [hf_request_event_hook, keep_token_with_its_hub], "response": [_cap_answer]},
            headers={"Accept-Encoding": "identity"},
            follow_redirects=True,
            timeout=METADATA_TIMEOUT_SECONDS,
            transport=HubTransport(),
        )

    set_client_factory(factory)
