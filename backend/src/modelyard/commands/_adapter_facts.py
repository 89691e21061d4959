"""What commands show of an adapter, before its download and after it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelyard.commands import _format
from modelyard.commands._output import Cell

if TYPE_CHECKING:
    from modelyard.client.answers import AdapterBase, AdapterFacts, AdapterPreview, ModelResponse


def offered_adapter(adapter: "AdapterPreview | None") -> Iterator[tuple[str, Cell]]:
    """Yield the facts of an adapter on a Hub; nothing for a model."""
    if adapter is not None:
        yield "adapter of", f"{_base_name(adapter)}, {_state(adapter['base'])}"
        yield from _change(adapter)
        yield "memory", f"{_format.size(adapter['memory_bytes'])} in addition to its base"


def installed_adapter(row: "ModelResponse") -> Iterator[tuple[str, Cell]]:
    """Yield the facts of an installed adapter; nothing for a model."""
    adapter = row.get("adapter")
    if adapter is not None:
        name = _base_name(adapter)
        yield "adapter of", name if row["base_id"] else f"{name}, which is not here: `modelyard pull {name}` gets it"
        yield from _change(adapter)


def name_with_base(row: "ModelResponse") -> str:
    """Return the name of a model; of an adapter also what it belongs to."""
    adapter = row.get("adapter")
    return row["model_id"] if adapter is None else f"{row['model_id']} (adapter of {adapter['base_model']})"


def _change(adapter: "AdapterFacts | AdapterPreview") -> Iterator[tuple[str, Cell]]:
    yield "rank", None if adapter["rank"] is None else str(adapter["rank"])
    yield "changes", ", ".join(adapter["target_modules"]) or None


def _base_name(adapter: "AdapterFacts | AdapterPreview") -> str:
    return f"{adapter['base_model']}@{adapter['base_revision']}" if adapter["base_revision"] else adapter["base_model"]


def _state(base: "AdapterBase | None") -> str:
    if base is None:
        return "not looked up"
    if base["problem"]:
        return f"which cannot be downloaded: {base['problem']}"
    if base["status"]:
        return f"which is here ({base['status']}, {base['quantization']})"
    return f"which is not here: {_format.size(base['missing_bytes'])} to download with --with-base"
