"""Which files of a repository are the weights, by their names alone."""

import re
from collections.abc import Iterable

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SINGLE_PICKLE, INDEX_PICKLE = "pytorch_model.bin", "pytorch_model.bin.index.json"
# Beside the files of an index: Mistral's own format, adapters, and variants such as model.fp16.safetensors.
_NOT_OF_THE_INDEX = re.compile(r"consolidated.*|adapter_model.*|model\.(?!safetensors).*")
_MAIN_PICKLE = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")


def main_weights(files: Iterable[str]) -> set[str]:
    """The files transformers loads, in the order in which it looks for them: safetensors, one file before shards."""
    names = set(files)
    if SINGLE in names:
        return {SINGLE}
    if INDEX in names:
        shards = {name for name in names if name.endswith(".safetensors") and "/" not in name}
        return {name for name in shards if not _NOT_OF_THE_INDEX.fullmatch(name)}
    if SINGLE_PICKLE in names:
        return {SINGLE_PICKLE}
    return {name for name in names if _MAIN_PICKLE.fullmatch(name)} if INDEX_PICKLE in names else set()
