"""Checks of the environment's network settings before anything needs them."""

from huggingface_hub import constants

from modelyard.core.errors import HubUnreachable
from modelyard.hub.origins import origin_of
from modelyard.hub.proxies import proxy_problems
from modelyard.hub.tls import tls_problems


def network_problems() -> list[HubUnreachable]:
    """Return one error for each variable of this process that keeps it from reaching other machines."""
    endpoint = [not_an_address(constants.ENDPOINT)] if origin_of(constants.ENDPOINT) is None else []
    return [*endpoint, *proxy_problems(), *tls_problems()]


def not_an_address(endpoint: str) -> HubUnreachable:
    """Return the error for an invalid endpoint; it names HF_ENDPOINT if the address is from there."""
    if endpoint != constants.ENDPOINT:
        return HubUnreachable(f"{endpoint} is not an address.")
    return HubUnreachable(
        f"HF_ENDPOINT is {endpoint!a}: that is not the address of a Hub.",
        hint="Set HF_ENDPOINT to an address such as https://huggingface.co, or unset it, and restart.",
    )
