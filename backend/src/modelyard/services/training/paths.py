"""Where the files of this instance are now: `MODELYARD_HOME` may have moved since their paths were stored."""

from pathlib import Path

from modelyard.core.settings import get_settings


def present_path(stored: str) -> str:
    """Return the path of a data set or of a trained SAE as it is now.

    Where nothing is under the stored path, what has the same tail in the present home is meant: `datasets/<name>` or
    `trainings/<id>/sae`.
    """
    from modelyard.ml.sae.engine import OUTPUT_FOLDER

    path, settings = Path(stored), get_settings()
    match path.parts:
        case [*_, "datasets", name]:
            here = settings.datasets_folder / name
        case [*_, "trainings", training_id, folder] if folder == OUTPUT_FOLDER:
            here = settings.trainings_folder / training_id / folder
        case _:
            return stored
    try:
        return str(here) if here.exists() and not path.exists() else stored
    except (OSError, ValueError):  # not permitted, too long, or with a zero byte in it
        return stored
