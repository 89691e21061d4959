"""A client of a Hub's API: huggingface_hub sends the requests, and its errors become ours.

No answer is trusted: its size, its duration, its shape and its values have limits.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from http import HTTPStatus
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import quote

import httpx2
from huggingface_hub import HfApi, ModelInfo, constants, hf_hub_url
from huggingface_hub.errors import BadRequestError, EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import SafetensorsFileMetadata, build_hf_headers, get_session, hf_raise_for_status
from huggingface_hub.utils import validate_repo_id as validate_name

from modelyard.core.errors import (
    GatedNotAccepted,
    GatedNoToken,
    HubError,
    HubMisbehaved,
    HubModelNotFound,
    HubRateLimited,
    HubUnreachable,
    InvalidRepository,
    InvalidRequest,
    NoWeights,
    TokenInvalid,
)
from modelyard.core.safetensors_header import require_no_gaps
from modelyard.core.stored_text import clean_json
from modelyard.hub import answer_limits
from modelyard.hub.answer_limits import MAX_ANSWER_BYTES, METADATA_TIMEOUT_SECONDS, limit_answers, taking
from modelyard.hub.deadlines import ANSWER_SECONDS, within
from modelyard.hub.error_translation import translate_hub_errors
from modelyard.hub.licence import licence_name
from modelyard.hub.model_info import (
    BranchState,
    HubCollection,
    HubModel,
    as_hub_model,
    as_search_hit,
    commit_of,
    is_plausible,
    text_of,
)
from modelyard.hub.names import validate_revision
from modelyard.hub.origins import AskedHub, asking
from modelyard.hub.retry import RetryPolicy, call_with_retries
from modelyard.hub.search import HubQuery, HubSearchPage, next_cursor
from modelyard.hub.tokens import missing_token_note, token_for

# Somebody waits for the answer; work in the background has patience of its own.
IMPATIENT = RetryPolicy(attempts=3, max_wait_seconds=2.0)
PATIENCE_SECONDS = 5.0
MAX_HEADER_ANSWER_BYTES = constants.SAFETENSORS_MAX_HEADER_LENGTH + 8
HEADER_READERS = 8

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
"""Half of a pair, or a whole one, as an escape or as bytes."""

Answer = TypeVar("Answer")
Hit = TypeVar("Hit")
Access = Literal["open", "accepted", "needs_acceptance", "no_token", "token_invalid", "unknown"]
TokenState = Literal["none", "valid", "invalid", "unknown"]


class HubClient:
    """A client of one Hub. `token`: None for the one stored for this Hub, False for none, or a string.

    `is_builtin` says that the Hub is a part of this server, with nothing but the sample models and what is here.
    """

    repo_type: ClassVar[Literal["model", "dataset"]] = "model"

    def __init__(
        self,
        endpoint: str,
        token: str | Literal[False] | None = None,
        *,
        timeout_seconds: float = METADATA_TIMEOUT_SECONDS,
        is_builtin: bool = False,
    ) -> None:
        limit_answers()
        self.endpoint = endpoint.rstrip("/")
        self.timeout_seconds = timeout_seconds
        self.is_builtin = is_builtin
        self._token = token

    @property
    def token(self) -> str | Literal[False]:
        """Return what to send with requests; never None: huggingface_hub would then take a token of another Hub."""
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
            return as_hub_model(model_id, ModelInfo(**answer), licence)  # type: ignore[no-untyped-call]

        return self._ask(ask, model_id, revision)

    def branch_state(self, model_id: str, revision: str) -> BranchState:
        """Return the current commit of a branch or tag, by the smallest request. Raises as `model_info` does."""
        validate_revision(revision)

        def ask() -> BranchState:
            answer = self._get_model(model_id, revision, expand=["sha", "private"])
            return BranchState(commit_of(model_id, answer.get("sha")), bool(answer.get("private")))

        return self._ask(ask, model_id, revision)

    def _get_model(self, model_id: str, revision: str | None, **params: Any) -> dict[str, Any]:
        """Return what a Hub's API says of a repository.

        Does not use `HfApi.model_info`, which fails on unusual content of a card.
        """
        validate_name(model_id)
        url = f"{self.endpoint}/api/{self.repo_type}s/{model_id}"
        if revision is not None:
            url += f"/revision/{quote(revision, safe='')}"
        answer = parsed_answer(self._get(url, params=params).content)
        if not isinstance(answer, dict):
            raise HubMisbehaved(f"{self.endpoint} answers, but not as a Hub does.")
        return answer

    def access(self, model: HubModel) -> Access:
        """Return whether this token may fetch the files of a gated model."""
        if not model.gated:
            return "open"
        try:
            self._ask(lambda: self._api.auth_check(model.model_id, repo_type=self.repo_type), model.model_id, None)
        except GatedNoToken:
            return "no_token"
        except (GatedNotAccepted, HubModelNotFound):
            return "needs_acceptance"
        except TokenInvalid:
            return "token_invalid"
        except (HubUnreachable, HubRateLimited, HubMisbehaved):
            return "unknown"
        return "accepted"

    def search(self, query: HubQuery, limit: int, cursor: str | None = None) -> HubSearchPage:
        """Return at most `limit` models that match, from `cursor` on, which an earlier page named.

        Raises InvalidRequest for what the Hub does not take, a cursor that it did not give for example.
        """
        hits, cursor = self._list(query.parameters(limit, cursor), limit, as_search_hit)
        return HubSearchPage(hits, cursor)

    def _list(
        self, params: Mapping[str, Any], limit: int, as_hit: Callable[[ModelInfo], Hit]
    ) -> tuple[tuple[Hit, ...], str | None]:
        """Return at most `limit` repositories of a list, and the cursor of the next page. Raises as `search` does."""

        def ask() -> tuple[tuple[Hit, ...], str | None]:
            # Not `list_models`: its own five retries make a person wait half a minute for a Hub that is away, and it
            # follows a misbehaving Hub from page to page for ever.
            try:
                response = self._get(f"{self.endpoint}/api/{self.repo_type}s", params=params)
            except BadRequestError as error:
                raise InvalidRequest(
                    f"{self.endpoint} does not take this search.", hint="Search again from the first page."
                ) from error
            answer = parsed_answer(response.content)
            if not isinstance(answer, list):
                raise HubMisbehaved(f"{self.endpoint} answers, but not as a Hub does.")
            hits = [as_hit(ModelInfo(**item)) for item in answer[:limit]]  # type: ignore[no-untyped-call]
            return tuple(hits), next_cursor(response)

        return self._ask(ask, "", None)

    def collection(self, slug: str) -> HubCollection:
        """Return the models of a collection. Raises HubModelNotFound, and otherwise as `model_info` does."""

        def ask() -> HubCollection:
            try:
                found = self._api.get_collection(slug)
            except HfHubHTTPError as error:
                if error.response.status_code != HTTPStatus.NOT_FOUND:
                    raise
                raise HubModelNotFound(f"There is no collection {slug} at {self.endpoint}.") from error
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise HubMisbehaved(f"{self.endpoint} answers, but not as a Hub does.") from error
            models = [text_of(item.item_id) for item in found.items if item.item_type == "model"]
            return HubCollection(
                slug=slug,
                title=text_of(found.title) or slug,
                model_ids=tuple(dict.fromkeys(name for name in models if name)),
                left_out=len(found.items) - len(models),
            )

        return self._ask(ask, "", None)

    def read_small_file(
        self, model_id: str, commit: str, path: str, *, limit_bytes: int = MAX_ANSWER_BYTES
    ) -> bytes | None:
        """Return the content of a file of a repository, None if it does not exist. Raises as `model_info` does."""
        url = hf_hub_url(model_id, path, repo_type=self.repo_type, revision=commit, endpoint=self.endpoint)

        def ask() -> bytes | None:
            try:
                with taking(limit_bytes):
                    return self._get(url).content
            except EntryNotFoundError:
                return None

        return self._ask(ask, model_id, commit)

    def read_range(self, model_id: str, commit: str, path: str, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop` (exclusive) of a file, some megabytes at most. Raises as `model_info` does."""
        url = hf_hub_url(model_id, path, repo_type=self.repo_type, revision=commit, endpoint=self.endpoint)

        def ask() -> bytes:
            with taking(stop - start):
                response = self._get(url, byte_range=f"bytes={start}-{stop - 1}")
            if response.status_code != 206 or len(response.content) != stop - start:
                raise HubMisbehaved(f"{self.endpoint} sent another part of {path} than asked for.")
            content: bytes = response.content
            return content

        return self._ask(ask, model_id, commit)

    def safetensors_headers(self, model_id: str, commit: str, paths: list[str]) -> list[SafetensorsFileMetadata]:
        """Return the headers of weight files, read with Range requests, in the order given."""

        def read(path: str) -> SafetensorsFileMetadata:
            def ask() -> SafetensorsFileMetadata:
                with taking(MAX_HEADER_ANSWER_BYTES), _safetensors_header(path, model_id):
                    header = self._api.parse_safetensors_file_metadata(
                        model_id, path, revision=commit, timeout=self.timeout_seconds
                    )
                    if not all(is_plausible(tensor) for tensor in header.tensors.values()):
                        raise ValueError("impossible tensors")
                    require_no_gaps([tensor.data_offsets for tensor in header.tensors.values()], path, model_id)
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
        """Return the state of the token and the name of its owner."""
        if not self.token:
            return "none", None
        try:
            with within(self.timeout_seconds):
                name = self._ask(self._api.whoami, "", None).get("name")
        except TokenInvalid:
            return "invalid", None
        except (HubUnreachable, HubRateLimited, HubMisbehaved, HubModelNotFound):
            return "unknown", None
        return "valid", text_of(name)

    def check(self, timeout_seconds: float) -> None:
        """Raise HubUnreachable, or another HubError, unless a Hub answers at the endpoint. Tries once."""
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
        """Return `call()`, tried again while its failure may pass and the user still waits. Raises our own errors."""
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
            within(answer_limits.MAX_ANSWER_SECONDS + self.timeout_seconds),
        ):
            yield

    def within_patience(self) -> AbstractContextManager[None]:
        """Limit all requests in this context together to ANSWER_SECONDS."""
        return within(ANSWER_SECONDS + self.timeout_seconds)

    def has_token(self) -> bool:
        """Return whether a token would be sent, valid or not."""
        return bool(self.token)

    def missing_token_note(self) -> str | None:
        """Return `tokens.missing_token_note`, None if this client was given a token."""
        return None if self._token is not None else missing_token_note(self.endpoint)


@contextmanager
def _safetensors_header(path: str, model_id: str) -> Iterator[None]:
    """Raise InvalidRepository for an invalid header of a weight file: authors write it, not the Hub."""
    try:
        yield
    except UnicodeEncodeError:
        raise  # of the request
    except NoWeights as error:
        raise InvalidRepository(error.message, file=path) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise InvalidRepository(f"The header of {path} in {model_id} makes no sense.", file=path) from error


def parsed_answer(content: bytes) -> Any:
    """Return the JSON of an answer, with U+FFFD for halves of surrogate pairs, which we could not send on."""
    value = json.loads(content)
    return clean_json(value) if _SURROGATE.search(content) else value
