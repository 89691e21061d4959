"""Which tests stay together when several processes share them."""

import re

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

_OF_A_TYPE = (
    r"ml/inspect/test_(?:activations|architecture|kv_cache|memory|repeated_layers|token_loops)\.py::\w+\[(?P<type>.+)\]",
    r"ml/quantize/test_artifact\.py::test_a_copy_of_every_type\w*\[(?P<type>\w+)-",
)


class ByFileOrModelType(LoadScopeScheduling):  # type: ignore[misc]
    """A file's tests stay together, as they share servers; those of a model type share a checkpoint instead.

    There are hundreds of these, and no process is left alone with a file of minutes at the end.
    """

    def _split_scope(self, nodeid: str) -> str:
        of_a_type = next(filter(None, (re.search(pattern, nodeid) for pattern in _OF_A_TYPE)), None)
        return of_a_type["type"] if of_a_type else nodeid.partition("::")[0]
