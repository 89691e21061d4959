"""`python -m modelyard.openapi` prints the API's description; with `--answers`, the types of its bodies for Python;
with `--errors`, the page of its error codes."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.api.error_page import errors_markdown
from modelyard.main import create_app

_SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_HEAD = '''"""The bodies of the API as they are in JSON, for type checkers. Written by `make types` from the schemas."""

# fmt: off
# ruff: noqa

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict
'''


def answer_types(description: Mapping[str, Any]) -> str:
    """Return the source of a module with a TypedDict for each schema of an OpenAPI description."""
    schemas = description["components"]["schemas"]
    classes = [line for name, schema in schemas.items() if "properties" in schema for line in _class(name, schema)]
    others = [f"{name} = {type_of(schema)}" for name, schema in schemas.items() if "properties" not in schema]
    return "\n".join([_HEAD, *classes, "", *others, ""])


def _class(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"class {name}(TypedDict):")
    required = schema.get("required", ())
    for field, of in schema["properties"].items():
        yield f"    {field}: {type_of(of) if field in required else f'NotRequired[{type_of(of)}]'}"
    yield ""


def type_of(schema: Any) -> str:
    match schema:
        case {"$ref": reference}:
            return str(reference).rpartition("/")[2]
        case {"enum": values}:
            return f"Literal[{', '.join(map(repr, values))}]"
        case {"const": value}:
            return f"Literal[{value!r}]"
        case {"anyOf": options} | {"oneOf": options}:
            return " | ".join(map(type_of, options))
        case {"type": "array", "prefixItems": items}:
            return f"tuple[{', '.join(map(type_of, items))}]"
        case {"type": "array"}:
            return f"list[{type_of(schema.get('items', True))}]"
        case {"type": "object"}:
            return f"dict[str, {type_of(schema.get('additionalProperties', True))}]"
        case {"type": kind}:
            return _SIMPLE[kind]
    return "Any"


if __name__ == "__main__":
    found = create_app().openapi()
    found["info"]["version"] = "1"  # that of the paths: what is committed does not change with every commit
    if "--answers" in sys.argv:
        sys.stdout.write(answer_types(found))
    elif "--errors" in sys.argv:
        sys.stdout.write(errors_markdown())
    else:
        json.dump(found, sys.stdout, indent=1, sort_keys=True)
        sys.stdout.write("\n")
