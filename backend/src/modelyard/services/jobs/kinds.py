"""The kinds of jobs: the queue of each, its task, and which belong together."""

from modelyard.core.queues import Queue
from modelyard.models import JobKind

TASKS = {
    JobKind.DOWNLOAD: "models.download",
    JobKind.VERIFY: "models.verify",
    JobKind.IMPORT: "models.import",
    JobKind.QUANTIZE: "models.quantize",
    JobKind.MERGE: "models.merge",
    JobKind.LOAD: "models.load",
    JobKind.UNLOAD: "models.unload",
    JobKind.GENERATE: "models.generate",
    JobKind.DRIFT: "models.drift",
    JobKind.EMBED: "models.embed",
    JobKind.TRAIN: "trainings.train",
    JobKind.FETCH_SAE: "saes.fetch",
    JobKind.EVALUATE_SAE: "saes.evaluate",
    JobKind.BUILD_FEATURES: "saes.build_features",
    JobKind.EXPORT: "bundles.export",
    JobKind.UNPACK: "bundles.unpack",
    JobKind.ACTIVATIONS: "models.activations",
    JobKind.CAPTURE: "activations.capture",
    JobKind.LENS: "models.lens",
}
JOB_QUEUES = {
    # These move or read whole models: they wait for each other, not for the GPU.
    JobKind.DOWNLOAD: Queue.DOWNLOADS,
    JobKind.VERIFY: Queue.DOWNLOADS,
    JobKind.IMPORT: Queue.DOWNLOADS,
    JobKind.EXPORT: Queue.DOWNLOADS,
    JobKind.UNPACK: Queue.DOWNLOADS,
    JobKind.QUANTIZE: Queue.COMPUTE,
    JobKind.MERGE: Queue.COMPUTE,
    # Hours long: a quantization does not wait for it.
    JobKind.TRAIN: Queue.TRAINING,
    JobKind.FETCH_SAE: Queue.DOWNLOADS,
    JobKind.EVALUATE_SAE: Queue.COMPUTE,
    JobKind.BUILD_FEATURES: Queue.COMPUTE,
    JobKind.LOAD: Queue.INFERENCE,
    JobKind.UNLOAD: Queue.INFERENCE,
    JobKind.GENERATE: Queue.INFERENCE,
    JobKind.DRIFT: Queue.INFERENCE,
    JobKind.EMBED: Queue.INFERENCE,
    JobKind.ACTIVATIONS: Queue.INFERENCE,
    JobKind.LENS: Queue.INFERENCE,
    # One at a time: it may take hours, and others share its model meanwhile.
    JobKind.CAPTURE: Queue.CAPTURES,
}
SAE_WORK = (JobKind.FETCH_SAE, JobKind.EVALUATE_SAE, JobKind.BUILD_FEATURES)
LOADING_PHASE = "loading"
WITH_TEXTS = (JobKind.GENERATE, JobKind.DRIFT, JobKind.EMBED, JobKind.ACTIVATIONS, JobKind.LENS)
"""Requests that hold what a user sent and got, which may be many megabytes."""
REQUESTS = (JobKind.LOAD, JobKind.UNLOAD, *WITH_TEXTS)
"""Work with a model in memory, for somebody who waits."""
NOT_OF_A_MODEL = (JobKind.TRAIN, JobKind.EXPORT, JobKind.UNPACK, JobKind.CAPTURE, *SAE_WORK)
"""Work on a run, an autoencoder, a bundle or activations, which the history of a model does not mention."""
