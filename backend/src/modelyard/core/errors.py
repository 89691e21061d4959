"""Every error a user can meet: a stable `code`, a message that says what happened, and a hint that says what to do."""

from collections.abc import Mapping
from typing import Any, ClassVar


class ModelyardError(Exception):
    """Base of all expected failures.

    `message` says what happened, `hint` what to do next. `extra` holds fields that go beside them in
    the problem document (the `id` of an existing row, for example). HTTP statuses live in the API layer.
    """

    code: ClassVar[str] = "internal_error"
    default_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, hint: str | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is not None else self.default_hint
        self.extra = extra

    def as_dict(self) -> dict[str, Any]:
        """Return the form stored in a row and shown in `ModelResponse.error`."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class InvalidRequest(ModelyardError):
    code = "invalid_request"


class UnsupportedParameter(InvalidRequest):
    """A field of the OpenAI API that changes the answer and that this server does not have; `param` is in `extra`."""

    code = "unsupported_parameter"
    default_hint = "Leave it out. docs/serving.md lists what is supported."


class ContextLengthExceeded(InvalidRequest):
    """A prompt has more tokens than the model reads."""

    code = "context_length_exceeded"
    default_hint = "Shorten the prompt, or use a model with a longer context."


class Unauthorized(ModelyardError):
    code = "unauthorized"
    default_hint = "Send the server's key: --api-key, MODELYARD_API_KEY, or the page's sign-in form."


class ForbiddenOrigin(ModelyardError):
    """A request for a name that is not this server's, or a change requested by a page of another site."""

    code = "forbidden_origin"
    default_hint = (
        "Open the page under the address the server listens on, or, behind a reverse proxy, set MODELYARD_PUBLIC_URL to"
        " the proxy's address and restart the server."
    )


class TooManyAttempts(ModelyardError):
    """Too many wrong keys came from this address; `retry_after_seconds` is in `extra`."""

    code = "too_many_attempts"
    default_hint = "Wait, then send the server's key. Requests with the right key are always accepted."


class PayloadTooLarge(ModelyardError):
    """The body of a request is larger than its endpoint takes; `limit_bytes` is in `extra`."""

    code = "payload_too_large"
    default_hint = "Send less at once."


class DatabaseUnavailable(ModelyardError):
    """The database does not answer, or not in time. Work that meets this waits or is requeued; it has not failed."""

    code = "database_unavailable"
    default_hint = "Try again in a moment. If it happens again, check the server that MODELYARD_DATABASE_URL names."

    def __init__(self, message: str, *, hint: str | None = None, **extra: Any) -> None:
        super().__init__(message, hint=hint, **{"retry_after_seconds": 2} | extra)


class DatabaseDamaged(DatabaseUnavailable):
    """The file of the embedded database is damaged; `extra["path"]` is its path."""

    code = "database_damaged"
    default_hint = (
        "Stop the server, then restore this file from a backup, or move it and the -wal and -shm files beside it away"
        " to begin with an empty list. Models on the disk are kept and can be adopted again: `modelyard import`."
    )


class DatabaseTooNew(ModelyardError):
    code = "database_too_new"
    default_hint = "Install that version again, or use another MODELYARD_HOME."


class PathNotAllowed(ModelyardError):
    """A path that a user named, or a link in its folder, leads out of what the server reads for users."""

    code = "path_not_allowed"


class ModelNotFound(ModelyardError):
    code = "model_not_found"
    default_hint = "`modelyard ls` lists the installed models."


class TrainingNotFound(ModelyardError):
    code = "training_not_found"
    default_hint = "GET /api/v1/trainings lists the runs."


class SaeNotFound(ModelyardError):
    code = "sae_not_found"
    default_hint = "`modelyard saes ls` lists the sparse autoencoders."


class ActivationsNotFound(ModelyardError):
    code = "activations_not_found"
    default_hint = "GET /activations lists what is stored."


class DatasetNotFound(ModelyardError):
    code = "dataset_not_found"
    default_hint = "GET /api/v1/datasets lists the uploaded files."


class AlreadyExists(ModelyardError):
    code = "already_exists"


class ModelInUse(ModelyardError):
    code = "model_in_use"


class SharedCache(ModelyardError):
    code = "shared_cache"
    default_hint = "Confirm the deletion (confirm_shared=true) if no other tool needs these files."


class NotReady(ModelyardError):
    code = "not_ready"
    default_hint = "Wait until it is ready: `modelyard ps` shows its progress."


class Conflict(ModelyardError):
    """The state of the model or run does not allow the request."""

    code = "conflict"


class HubError(ModelyardError):
    """A request to a Hub failed."""

    code = "hub_error"


class HubModelNotFound(HubError):
    code = "hub_model_not_found"
    default_hint = "Check the spelling; a private repository needs a token that may read it."


class RevisionNotFound(HubError):
    code = "revision_not_found"
    default_hint = "Leave the revision out to get the default branch."


class GatedNoToken(HubError):
    code = "gated_no_token"
    default_hint = "Add a Hub token in Settings (or `hf auth login`) and accept the terms on the model's page."


class GatedNotAccepted(HubError):
    code = "gated_not_accepted"
    default_hint = "Accept the terms on the model's page, then try again."


class TokenInvalid(HubError):
    code = "token_invalid"
    default_hint = "Replace the Hub token in Settings (or run `hf auth login`)."


class HubUnreachable(HubError):
    code = "hub_unreachable"
    default_hint = "Check the network or proxy, set another endpoint in Settings, or use the built-in sample Hub."


class HubRateLimited(HubError):
    code = "hub_rate_limited"
    default_hint = "Wait a little, or add a Hub token for a higher limit."


class TooManyFiles(HubError):
    code = "too_many_files"
    default_hint = "Choose a repository that holds one model, or a revision with fewer files."


class HubBusy(HubError):
    """Too many requests are waiting for a Hub; `retry_after_seconds` is in `extra`."""

    code = "hub_busy"
    default_hint = "Try again in a few seconds. If it happens again, the Hub is too slow for so many requests."


class HubMisbehaved(HubError):
    """The Hub sent an invalid answer, which was discarded."""

    code = "hub_misbehaved"
    default_hint = "Check that the endpoint in Settings is a Hub you trust."


class ChecksumMismatch(HubError):
    code = "checksum_mismatch"
    default_hint = "Retry; if it happens again, the Hub or a proxy on the way serves a damaged file."


class StorageError(ModelyardError):
    """A disk is full or not usable; the work waits, and resumes by itself once that is fixed.

    `extra["folder"]` is the file or folder in question, if known.
    """

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of every error, with `extra`, which says what to look at before the work is tried again."""
        return super().as_dict() | {"extra": self.extra}


class DiskFull(StorageError):
    code = "disk_full"
    default_hint = (
        "Free space, or move HF_HUB_CACHE or MODELYARD_HOME to a larger disk. Work that was under way keeps what it"
        " has and resumes by itself when there is room."
    )


class StorageDenied(StorageError):
    """The server's user may not use a file or a folder, or it is mounted read-only."""

    code = "storage_denied"
    default_hint = (
        "Give that user read and write access to it (chown -R), or run the server as its owner. Work that waits for it"
        " resumes by itself."
    )


class DatabaseFull(DiskFull, DatabaseUnavailable):
    """The embedded database cannot grow; reading still works."""


class DatabaseDenied(StorageDenied, DatabaseUnavailable):
    """The server's user may not write the embedded database."""


STORAGE_CODES = frozenset({DiskFull.code, StorageDenied.code})
"""Codes of errors after which work waits for a disk."""


class UnsafeWeights(ModelyardError):
    code = "unsafe_weights"
    default_hint = (
        "Choose a repository with safetensors, or allow pickle weights for this model if you trust its author."
    )


class NoWeights(ModelyardError):
    code = "no_weights"
    default_hint = "Choose a repository that holds safetensors weights for transformers."


class InvalidRepository(ModelyardError):
    """A file that a repository ships is not what its name says; `extra["file"]` names it."""

    code = "invalid_repository"
    default_hint = "Choose another revision or model, or tell the author of this one."


class UnsupportedArchitecture(ModelyardError):
    code = "unsupported_architecture"
    default_hint = "Choose a text generation model that the installed transformers supports."


def no_language_head(architecture: str) -> UnsupportedArchitecture:
    """Return the error for generating with a model that has no language head."""
    return UnsupportedArchitecture(
        f"{architecture} has no language head to generate text with.",
        hint="Use its hidden states in Python (modelyard.load), or choose a model for text generation.",
    )


class NeedsCustomCode(ModelyardError):
    code = "needs_custom_code"
    default_hint = "Modelyard never runs code from a repository; choose a model that transformers itself supports."


class UnsupportedAdapter(ModelyardError):
    code = "unsupported_adapter"
    default_hint = "Choose an adapter of plain LoRA (no DoRA, no modules_to_save) in safetensors for a model on a Hub."


class BaseMissing(ModelyardError):
    """The model that an adapter changes is not here; `base_model` and `base_revision` are in `extra`."""

    code = "base_missing"
    default_hint = "Download the base first, or both at once: `modelyard pull ADAPTER --with-base`, with_base=true."


class InvalidBundle(ModelyardError):
    """A bundle that Modelyard did not write, or that was changed since."""

    code = "invalid_bundle"
    default_hint = "Copy the bundle again. If that does not help, export the models again."


class BundleNotFound(ModelyardError):
    code = "bundle_not_found"
    default_hint = "GET /api/v1/bundles lists the bundles."


class AlreadyQuantized(ModelyardError):
    code = "already_quantized"
    default_hint = "Download it with quantization none."


class ArtifactMismatch(ModelyardError):
    """A quantized copy does not compute exactly what the model it was made from computes."""

    code = "artifact_mismatch"
    default_hint = "Use modelyard.load with this precision instead, which makes no copy, and report the model's name."


class OutOfMemory(ModelyardError):
    code = "out_of_memory"
    default_hint = "Unload other models, or choose a smaller precision or another device."


class NoTokenizer(ModelyardError):
    code = "no_tokenizer"
    default_hint = "Choose a model whose files hold a tokenizer that transformers can read."


class TemplateFailed(ModelyardError):
    """A model's chat template or tokenizer failed, or exceeded its limits."""

    code = "template_failed"
    default_hint = "Send prompt instead of messages, or use another model."


class OutputNotFinite(ModelyardError):
    """A model's logits are NaN or infinite, so that no token can be chosen; the dtype it ran in is in the message."""

    code = "output_not_finite"
    default_hint = (
        "Load the model in float32 or bfloat16. If that does not help, its weights may be damaged: verify the model."
    )


class ExtraMissing(ModelyardError):
    """A part of Modelyard that this installation lacks (`core.extras`); `extra` has its name."""

    code = "extra_missing"
    default_hint = "Settings shows the command that installs it."


class SaeEngineMissing(ExtraMissing):
    code = "sae_engine_missing"
    default_hint = "The Training page shows the command that installs it."


class TrainingIncompatible(ModelyardError):
    """A model or hook point that cannot be trained on; the reason's `code` is in `extra`."""

    code = "training_incompatible"
    default_hint = "Choose another hook point, or another model."


class TrainingDiverged(ModelyardError):
    code = "training_diverged"
    default_hint = "Start it again with a smaller learning rate."


def error_from(stored: Mapping[str, Any]) -> ModelyardError:
    """Return the error that `as_dict` described, in its own class if there is one."""
    kinds: list[type[ModelyardError]] = [ModelyardError]
    for kind in kinds:
        if vars(kind).get("code") == stored.get("code"):
            break
        kinds.extend(kind.__subclasses__())
    else:
        kind = ModelyardError
    return kind(stored.get("message", "The work failed."), hint=stored.get("hint"), **stored.get("extra", {}))
