"""What each error code means and what to do about it: the text of `/docs/errors` and of `docs/errors.md`."""

from typing import NamedTuple


class Help(NamedTuple):
    """`meaning` and `action` are Markdown; without an `action` the hint of the error's class is it.

    `where` says where the error is met, if that is more, or something else, than an answer with its HTTP status.
    """

    meaning: str
    action: str | None = None
    where: str | None = None


IN_ROW = "in `error` of the model"
IN_RUN = "in `error` of the training run"
COMMAND_LINE = "on the command line"

HELP: dict[str, Help] = {
    # Requests
    "invalid_request": Help(
        "A field is missing, unknown or has a value it cannot have; `errors` names each field. Also for U+0000 or half"
        " of a surrogate pair in a text, and NaN or Infinity in a body.",
        "Correct the request; `/docs` of the server describes every field.",
    ),
    "unsupported_parameter": Help(
        "A field of [OpenAI's API](serving.md#what-is-supported) would change the answer and is not supported; `param`"
        " names it.",
        "Leave the field out.",
        "below `/v1`, with 400",
    ),
    "context_length_exceeded": Help(
        "The prompt has more tokens than the model reads.", where="below `/v1` with 400 instead"
    ),
    "unauthorized": Help(
        "The server has a key, and the request did not carry it.",
    ),
    "forbidden_origin": Help(
        "The request came from a page of another site, or under a foreign host name. Behind a reverse proxy, the proxy"
        " may pass on another name or port than the browser's ([details](operations.md#behind-a-reverse-proxy)).",
    ),
    "too_many_attempts": Help(
        "More than ten wrong keys came from this address in a short time; `Retry-After` says how long to wait.",
    ),
    "payload_too_large": Help(
        "The body is larger than this call takes; `limit_bytes` is the limit.",
        "Send less at once. For data sets, raise `MODELYARD_MAX_UPLOAD_BYTES` on the server.",
    ),
    "not_found": Help(
        "There is nothing at this address.", "Check the address; `/docs` of the server lists every call.", "HTTP 404"
    ),
    "method_not_allowed": Help(
        "There is a call at this address, but with another method.",
        "`/docs` of the server lists the methods of each call.",
        "HTTP 405",
    ),
    "internal_error": Help(
        "A fault in Modelyard.",
        "The log of the process has the details (`MODELYARD_HOME/logs`). Please report it with them.",
        f"also {IN_ROW} and {IN_RUN}",
    ),
    # Models of this instance
    "model_not_found": Help("This instance has no model with that id or name."),
    "ambiguous_model": Help(
        "Several models fit the name; `candidates` lists them.",
        "Give the owner too where the names differ, `--quantization` where the precisions do, or the id.",
        COMMAND_LINE,
    ),
    "already_exists": Help(
        "The same model, commit and precision is installed already; `id` is its id.",
        "Use it as it is, or delete it first.",
    ),
    "conflict": Help(
        "The state of the model or the run does not allow the request, such as pausing a ready model.",
        "Look at its state (`modelyard ps`, `modelyard show`), and wait until the work under way has ended.",
    ),
    "not_ready": Help("The model is not completely downloaded yet."),
    "model_in_use": Help(
        "A model is loaded and used, or a training run needs it; `used_by` names what.",
        "Wait until it is done, or end it first: `modelyard unload`, `modelyard train cancel`.",
    ),
    "shared_cache": Help(
        "The files were in the Hugging Face cache before Modelyard used them, so other tools may rely on them.",
        "Repeat with `confirm_shared=true` (`modelyard rm --confirm-shared`) if no other tool needs them.",
    ),
    "files_missing": Help(
        "Files of the model were removed by another program.",
        "Download it again (`modelyard resume`), or delete it.",
        IN_ROW,
    ),
    "files_changed": Help(
        "A linked file of an imported model was changed in place, so it is neither served nor loaded.",
        "`modelyard verify` makes it ready again if the content is still the same; otherwise import the folder again.",
        IN_ROW,
    ),
    "path_not_allowed": Help(
        "The path does not lie below a folder that the server reads for users"
        " ([which these are](operations.md#what-the-server-reads-for-users)), or a link in it leads out.",
        "Name a folder below an allowed one, or add it to `MODELYARD_ALLOWED_PATHS` on the server.",
    ),
    # Hubs and downloads
    "hub_model_not_found": Help("The Hub does not have the model, or does not show it to this token."),
    "revision_not_found": Help("The model has no branch, tag or commit of that name."),
    "gated_no_token": Help("The model is gated, and no token is stored for the Hub; `url` is the model's page."),
    "gated_not_accepted": Help(
        "The model is gated, and its terms are not accepted for this token; `url` is the model's page."
    ),
    "token_invalid": Help("The Hub does not accept the stored token."),
    "hub_unreachable": Help(
        "The Hub does not answer, or answers with an error of its own (HTTP 5xx). The message says which, and names the"
        " address that was tried. A download waits and tries again by itself.",
        "Check the network or the proxy. `modelyard hub URL` sets another endpoint, such as a mirror; `modelyard hub"
        " builtin` uses the sample models of the server.",
    ),
    "hub_rate_limited": Help("The Hub asks to be called less often."),
    "hub_busy": Help("16 other requests are waiting for a Hub already; `Retry-After` says when to try again."),
    "hub_misbehaved": Help("The Hub sent an invalid answer, which was discarded."),
    "hub_error": Help(
        "A request to the Hub failed for a reason that no other code names.",
        "The message has the Hub's own words. Try again; if it happens again, look at the state of the Hub.",
    ),
    "too_many_files": Help("The repository has more than 10,000 files, which is no single model."),
    "checksum_mismatch": Help("A file did not have the hash the Hub announced, twice.", where=IN_ROW),
    "no_weights": Help(
        "There is nothing transformers can load, or a weight file is damaged or cut short.",
        "Choose a repository that holds safetensors weights for transformers. Verify an installed model.",
        f"also {IN_ROW}",
    ),
    "unsafe_weights": Help(
        "There are only pickle weights, which can run code when they are read, and no consent to that.",
        "Choose a repository with safetensors, or allow pickle weights for this model if you trust its author"
        " (`modelyard pull --allow-pickle`).",
        f"also {IN_ROW}",
    ),
    "invalid_repository": Help(
        "A file that the repository's author wrote, such as `config.json`, is not what its name says: not JSON, not"
        " UTF-8, too large, or with a field of the wrong type. The message says what and where, `file` names it.",
        where=f"also {IN_ROW}",
    ),
    "unsupported_architecture": Help(
        "The installed transformers has no class for the model, or the model cannot do what was asked of it.",
        where=f"also {IN_ROW}",
    ),
    "needs_custom_code": Help("The model needs Python code from its repository.", where=f"also {IN_ROW}"),
    "unsupported_adapter": Help(
        "A PEFT adapter that is not plain LoRA in safetensors, contradicts itself, or does not name a repository as its"
        " base ([what is supported](cli.md#adapters)).",
        where=f"also {IN_ROW}",
    ),
    "base_missing": Help(
        "The base of an adapter is not here. `base_model` and `base_revision` name it.",
    ),
    "invalid_bundle": Help(
        "The file is no [bundle](carry.md), or was changed since it was written; the message names the file that is"
        " damaged.",
        where="also in `error` of the bundle",
    ),
    "bundle_not_found": Help("This instance has no bundle with that id, or the bundle no such part."),
    "invalid_lock_file": Help(
        "The file is not a lock file that `modelyard lock` wrote.",
        "Write it again with `modelyard lock -o FILE`.",
        COMMAND_LINE,
    ),
    # Using models
    "already_quantized": Help("The checkpoint is stored quantized, so only precision `none` is possible."),
    "artifact_mismatch": Help(
        "The quantized copy that was written does not compute what the quantized model computes, so it was not kept.",
        where=IN_ROW,
    ),
    "output_not_finite": Help(
        "The model's output is NaN or infinite in the dtype it ran in, so there is no text, or the quantized copy is"
        " not kept. The message names the dtype.",
        where=f"also {IN_ROW}",
    ),
    "no_tokenizer": Help("The model has no tokenizer, and one is needed.", where=f"also {IN_ROW}"),
    "template_failed": Help(
        "The model's chat template, or its tokenizer, refused the text, has an error, or took more memory or time than"
        " it may ([the limits](operations.md#files-of-strangers)).",
        where=f"also {IN_RUN}",
    ),
    "out_of_memory": Help(
        "It does not fit: `needed_bytes` and `free_bytes` are the figures. Or memory ran out, and the system killed the"
        " worker.",
        where=f"also {IN_ROW} and {IN_RUN}",
    ),
    "extra_missing": Help(
        "A part of Modelyard is [not installed](install.md) with the server, and no live worker elsewhere has it;"
        " `extra` names it.",
        "Run the command in the hint on the server's machine, then restart the server.",
        f"also {IN_ROW}",
    ),
    "inspector_timeout": Help(
        "The configuration could not be examined in time; the figures are approximate.",
        "Ask again: the work may have gone on meanwhile.",
        "in `method_reason` of an estimate",
    ),
    "inspector_busy": Help(
        "The inspector is answering other questions; the figures are approximate.",
        "Ask again in a moment.",
        "in `method_reason` of an estimate",
    ),
    "inspector_crashed": Help(
        "The process that examines configurations ended without an answer; the figures are approximate.",
        "Ask again. If it happens again, the log of the API has the reason.",
        "in `method_reason` of an estimate",
    ),
    "child_crashed": Help(
        "The process that did the work ended without an answer; `exit_code` is negative if a signal ended it.",
        "Look whether the machine ran out of memory, then try again; the log of the worker has the details.",
        f"{IN_ROW} or {IN_RUN}",
    ),
    # Training and activations
    "sae_engine_missing": Help("The training extra is not installed with the server."),
    "training_incompatible": Help(
        "The model, or this place in it, cannot be trained on; `reason` says why.", where=f"also {IN_RUN}"
    ),
    "training_diverged": Help("The loss became NaN or infinite, so the run stopped.", where=IN_RUN),
    "training_not_found": Help("This instance has no training run with that id."),
    "dataset_not_found": Help("No file of that name was uploaded to this instance, or its Hub has no such data set."),
    "sae_not_found": Help("This instance has no sparse autoencoder with that id."),
    "activations_not_found": Help("No activations with that id are stored."),
    # The server, its disks and its database
    "server_unreachable": Help(
        "No Modelyard server answers at the address, or it went away before it had finished.",
        "Start one with `modelyard serve`, or name another with `--server` or `MODELYARD_SERVER`.",
        f"{COMMAND_LINE} and on the page",
    ),
    "disk_full": Help(
        "A disk is full, or the model does not fit it; `folder` says which.", where=f"also {IN_ROW} and {IN_RUN}"
    ),
    "storage_denied": Help(
        "The server's user may not use the file or folder in `folder`, or it is mounted read-only.",
        where=f"also {IN_ROW}",
    ),
    "database_unavailable": Help(
        "The database does not answer, or is too busy; any call may answer this. `Retry-After` says when to ask again."
        " Nothing has failed for good.",
    ),
    "database_damaged": Help("The file of the embedded database is damaged; `path` is its path."),
    "database_too_new": Help("A newer version of Modelyard has used this database."),
    "database_unusable": Help(
        "A command that reads the database itself, because no server answers, cannot read it.",
        "Start the server, which brings the tables up to date; `modelyard doctor` says more.",
        COMMAND_LINE,
    ),
    "folders_not_shared": Help(
        "A worker sees another cache or home than the API, so it takes no jobs.",
        "Share the folders ([which](operations.md#several-machines)), or set the variable that the message names.",
        "on a worker's console, with exit code 78",
    ),
    "cannot_start": Help(
        "The server or a worker cannot start, such as on a port that is in use.",
        "The message says what is in the way.",
        COMMAND_LINE,
    ),
}
