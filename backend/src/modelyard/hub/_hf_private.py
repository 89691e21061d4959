"""Private names of huggingface_hub. No other module imports them.

`pyproject.toml` bounds its version, and a test imports each name and checks the arguments that are given here.
"""

from huggingface_hub.utils._http import hf_request_event_hook
from huggingface_hub.utils._runtime import is_xet_available
from huggingface_hub.utils._shared_blobs import (
    expected_shared_blob_freed_size,
    shared_blob_target,
    sweep_shared_blob,
)
from huggingface_hub.utils._xet import get_xet_session, refresh_xet_connection_info, xet_headers_without_auth

__all__ = [
    "expected_shared_blob_freed_size",
    "get_xet_session",
    "hf_request_event_hook",
    "is_xet_available",
    "refresh_xet_connection_info",
    "shared_blob_target",
    "sweep_shared_blob",
    "xet_headers_without_auth",
]
