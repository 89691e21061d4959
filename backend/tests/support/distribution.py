"""Which tests stay together when several processes share them."""

import re

from xdist.scheduler import LoadScopeScheduling

_TYPE = re.compile(r"ml/test_(?:activations|architecture|kv_cache|memory)\.py::\w+\[(.+)\]")


class ByFileOrModelType(LoadScopeScheduling):  # type: ignore[misc]
    """A file's tests stay together, as they share servers; those of a model type share a checkpoint instead.

    There are hundreds of these, and no process is left alone with a file of minutes at the end.
    """

    def _split_scope(self, nodeid: str) -> str:
        of_a_type = _TYPE.search(nodeid)
        return of_a_type[1] if of_a_type else nodeid.partition("::")[0]
