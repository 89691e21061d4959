"""The certificates that connections to other machines trust."""

import os
import ssl
from functools import cache
from pathlib import Path

import httpx2

from modelyard.core.errors import HubUnreachable

_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR")
"""In the order in which they are asked."""


@cache
def tls_context() -> ssl.SSLContext:
    """Trust what SSL_CERT_FILE, REQUESTS_CA_BUNDLE (a file or a folder) or SSL_CERT_DIR names, else the system.

    Read once: every connection of the process trusts the same authorities. Raises HubUnreachable, which names the
    variable.
    """
    variable = _variable()
    if variable is None:
        return httpx2.create_ssl_context()
    named = os.environ[variable]
    try:
        if variable != "SSL_CERT_FILE" and Path(named).is_dir():
            next(Path(named).iterdir(), None)  # raises where it may not be read
            return ssl.create_default_context(capath=named)
        return ssl.create_default_context(cafile=named)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else _reason(error)
        raise HubUnreachable(
            f"{variable} is {named!a}: {reason}.",
            hint=f"Set {variable} to a file of certificates (PEM), or unset it, and restart. What is on this machine"
            " works without it.",
        ) from error


def tls_problems() -> list[HubUnreachable]:
    """Return what is wrong with the variables that name certificates."""
    try:
        tls_context()
    except HubUnreachable as error:
        return [error]
    return []


def untrusted_hint() -> str:
    """Return what to do where a certificate is not trusted."""
    variable = _variable()
    if variable is None:
        return (
            "If it comes from your own authority, name the file of its certificate in SSL_CERT_FILE and restart;"
            " otherwise check the address."
        )
    return f"{variable} ({os.environ[variable]}) decides what is trusted: add its authority there, or correct it."


def _variable() -> str | None:
    return next((name for name in _VARIABLES if os.environ.get(name)), None)


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return (text or str(error)).lower()
