"""Messages that no part of Modelyard sent: they are dropped with one line in the log, and their worker lives on."""

import base64
import json
import logging
from typing import Any

logger = logging.getLogger(__name__)

MAX_SHOWN = 200


def envelope_problem(message: Any) -> str | None:
    """Return why Kombu could not make a message of what a broker's list or a file holds; None if it can."""
    properties = message.get("properties") if isinstance(message, dict) else None
    if not isinstance(properties, dict):
        return "it is not a message"
    if not isinstance(properties.get("delivery_tag"), str) or not isinstance(properties.get("delivery_info"), dict):
        return "it has no delivery information"
    body = message.get("body")
    if not isinstance(body, str):
        return "it has no body"
    if properties.get("body_encoding") == "base64":
        try:
            base64.b64decode(body, validate=True)
        except ValueError:
            return "its body is not base64"
    return None


def wakeup_problem(message: Any) -> str | None:
    """Return why a message is not one that `core.queue.send_wakeup` sends; None if it is."""
    headers = message.headers
    if not isinstance(headers, dict) or not all(isinstance(headers.get(name), str) for name in ("task", "id")):
        return "it names no task"
    if message.content_type != "application/json":
        return f"its content type is {message.content_type!a}"
    try:
        body = json.loads(message.body)
    except (ValueError, TypeError, RecursionError):
        return "its body is not JSON"
    arguments = body[0] if isinstance(body, list) and len(body) == 3 else None
    if not isinstance(arguments, list) or len(arguments) != 1 or not isinstance(arguments[0], str):
        return "its arguments are not the id of a job"
    return None


def log_dropped(problem: str, queue: str, content: Any) -> None:
    """Say in one line what was dropped."""
    logger.error("Dropped a message of the queue %s, because %s: %.*s", queue, problem, MAX_SHOWN, ascii(content))
