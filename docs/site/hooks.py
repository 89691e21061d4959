"""What `mkdocs build` needs besides the pages: the generated ones, and those of the project's root."""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

import reference  # noqa: E402
from offline import foreign_requests  # noqa: E402

GENERATED = {
    "reference/commands.md": reference.commands,
    "reference/calls.md": reference.calls,
    "reference/settings.md": reference.settings,
}
FROM_THE_ROOT = {"CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"}
_OUT = re.compile(r"\]\(\.\./([^)#]+)(#[^)]*)?\)")
_INTO_DOCS = re.compile(r"\]\(docs/")
_OUT_OF_THE_SITE = re.compile(r"\[([^\]]+)\]\((?:\.ci|LICENSE)[^)]*\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are generated, those of the root, and the examples of `deploy`."""
    for name, make in GENERATED.items():
        files.append(File.generated(config, name, content=make()))
    for name in sorted(FROM_THE_ROOT):
        text = (PROJECT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_OUT_OF_THE_SITE.sub(r"\1", _INTO_DOCS.sub("](", text))))
    for path in sorted((PROJECT / "deploy").rglob("*")):
        if path.is_file():
            name = path.relative_to(PROJECT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Turn links out of `docs` into links of the site; those to folders have no page here."""
    if "/" in page.file.src_uri:
        return markdown

    def inside(match: re.Match[str]) -> str:
        target = match[1]
        return f"]({target}{match[2] or ''})" if files.get_file_from_path(target) else match[0]

    without_folders = re.sub(r"\[([^\]]+)\]\(\.\./deploy(?:/systemd)?/?\)", r"\1", markdown)
    return _OUT.sub(inside, without_folders)


def on_post_build(config: Any) -> None:
    """Refuse a site whose pages would ask another host for something."""
    if found := foreign_requests(Path(config.site_dir)):
        raise PluginError("Pages request other hosts:\n" + "\n".join(sorted(found)))
