"""What of a ready model's `config.json` cannot be used, for people who wonder why a field of the model is empty."""

from pathlib import Path

from modelyard.core.errors import InvalidRepository
from modelyard.core.repository_json import read_config_file
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.unchanged_file import read_unchanged


def config_remarks(folder: Path) -> tuple[str, ...]:
    """Return a sentence for each field of a wrong type, or why the file cannot be read. Raises nothing."""
    try:
        return read_unchanged(f"{folder}/config.json", _remarks)
    except OSError:  # without the file the model is not ready for long
        return ()


def _remarks(file: Path) -> tuple[str, ...]:
    try:
        return read_config(read_config_file(file, "this model")).problems
    except InvalidRepository as error:
        return (error.message,)
    except OSError as error:
        return (f"{file.name} cannot be read: {error.strerror}.",)
