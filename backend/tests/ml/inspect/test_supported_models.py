"""The page of supported models keeps up with the zoo."""

import re

from ml import known_exceptions, supported_models, zoo


def test_the_page_lists_every_type_once() -> None:
    listed = re.findall(r"^\| `([^`]+)`", supported_models.PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(listed) == sorted([*zoo.ALL_TYPES, *zoo.NOT_IN_ZOO])


def test_each_exception_stands_with_its_reason() -> None:
    lines = supported_models.PAGE.read_text(encoding="utf-8").splitlines()
    rows = {
        line.split("`")[1]: line.split(" | ") for line in lines if line.startswith("| `") and line.count(" | ") == 7
    }

    for model_type, cells in rows.items():
        if model_type in known_exceptions.NOT_RUNNABLE:
            continue
        figure = cells[6].partition(":")[0]
        difference = None if figure == "unknown" else float(figure.rstrip("%")) / 100
        assert cells[6] == supported_models.activations_cell(model_type, difference)
        assert (model_type in known_exceptions.ACTIVATIONS) == (difference is None or abs(difference) > 0.05), (
            model_type
        )
