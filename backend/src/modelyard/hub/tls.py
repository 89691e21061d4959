"""Whom a connection to a Hub trusts."""

import os
import ssl
from functools import cache
from pathlib import Path

import httpx2


@cache
def tls_context() -> ssl.SSLContext:
    """SSL_CERT_FILE, REQUESTS_CA_BUNDLE (a file or a folder), else what huggingface_hub's client trusts.

    Read once: every connection of the process trusts the same authorities.
    """
    bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    if not bundle or os.environ.get("SSL_CERT_FILE"):
        return httpx2.create_ssl_context()
    if Path(bundle).is_dir():
        return ssl.create_default_context(capath=bundle)
    return ssl.create_default_context(cafile=bundle)
