"""The page of supported models keeps up with the zoo."""

import re

from ml import supported_models, zoo


def test_the_page_lists_every_type_once() -> None:
    listed = re.findall(r"^\| `([^`]+)`", supported_models.PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(listed) == sorted([*zoo.ALL_TYPES, *zoo.NOT_IN_ZOO])
