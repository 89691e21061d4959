"""What the environment says about the network, checked before anything needs it."""

from modelyard.core.errors import HubUnreachable
from modelyard.hub.proxies import proxy_problems
from modelyard.hub.tls import tls_problems


def network_problems() -> list[HubUnreachable]:
    """Return one error for each variable of this process that keeps it from reaching other machines."""
    return [*proxy_problems(), *tls_problems()]
