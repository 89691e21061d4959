"""Turns what huggingface_hub and its HTTP client raise into the errors of `core.errors`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub.errors import (
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

from modelyard.core.errors import (
    DiskFull,
    GatedNotAccepted,
    GatedNoToken,
    HubMisbehaved,
    HubModelNotFound,
    HubRateLimited,
    HubUnreachable,
    InvalidRepository,
    InvalidRequest,
    RevisionNotFound,
    StorageDenied,
    TokenInvalid,
)
from modelyard.core.extras import Extra, missing
from modelyard.core.settings import get_settings
from modelyard.hub.network_check import not_an_address
from modelyard.hub.retry import HUB_IN_TROUBLE, as_transient, is_untrusted_certificate
from modelyard.hub.server.samples import CATALOGUE, SAMPLES_BYTES
from modelyard.hub.tls import untrusted_hint


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
    if status == 501 and is_builtin:
        return missing(Extra.TORCH)
    if status >= 500 and is_builtin:
        return HubUnreachable(
            f"The built-in sample Hub could not answer: {error.server_message or f'HTTP {status}'}",
            hint="Details are in the log of the API; ask again once that is mended.",
        )
    if status >= 500:
        return HubUnreachable(f"{endpoint} answers, but with an error (HTTP {status}).", hint=HUB_IN_TROUBLE)
    return HubMisbehaved(f"{endpoint} answered {status}.")
