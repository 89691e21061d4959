"""The settings of a program that runs no server."""

from typing import TYPE_CHECKING

from modelyard.core.environment import require_home_folder
from modelyard.core.errors import InvalidRequest

if TYPE_CHECKING:
    from modelyard.core.settings import Settings

_SECRETS = ("api_key", "database_url", "broker_url")
"""Settings whose values are not shown."""


def load_settings() -> "Settings":
    """Read the environment's settings. Raises InvalidRequest naming the variable that is wrong."""
    from pydantic import ValidationError

    from modelyard.core.settings import get_settings

    require_home_folder()
    try:
        return get_settings()
    except ValidationError as error:
        first = error.errors()[0]
        field = "_".join(map(str, first["loc"]))
        variable = f"MODELYARD_{field}".upper()
        said = "cannot be used" if field in _SECRETS else f"is {first['input']!r}"
        reason = first["msg"].removeprefix("Value error, ")
        raise InvalidRequest(f"{variable} {said}: {reason}.", hint=f"Correct {variable}.") from None
