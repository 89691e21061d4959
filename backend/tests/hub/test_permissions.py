"""Unfinished files that the server's user may not use: named, and used by the same process as soon as it may."""

import sys
import textwrap

from support.storage import reachable_folder, unprivileged

SCRIPT = textwrap.dedent("""
    import json, sys
    from pathlib import Path
    from modelyard.core.errors import StorageDenied
    from modelyard.hub.names import RemoteFile
    from modelyard.hub.download.part_file import PartialFile
    from modelyard.hub.cache.hub_cache import HubCache

    store = HubCache(Path(sys.argv[1]) / "hub")
    file = RemoteFile("model.bin", 3 << 20, "ab" * 32, None)
    store.prepare("owner/model")
    part, journal = store.part_path("owner/model", file.blob), store.journal_path("owner/model", file.blob)

    def begin():
        return PartialFile.open(store, "owner/model", file)

    def refused(path, mode):
        before = path.stat().st_mode
        path.chmod(mode)
        try:
            (path / "probe").touch() if path.is_dir() else path.open("r+b")
        except PermissionError:
            pass
        else:
            raise AssertionError(f"the fault does not bite: {path}")
        for _ in range(2):
            try:
                begin()
            except StorageDenied as error:
                assert str(path) in error.message, error.message
                assert error.extra["folder"] == str(path)
            else:
                raise AssertionError(f"{path} could be used")
        path.chmod(before)

    refused(part.parent, 0o500)
    begun = begin()
    claim = begun.claim(1)
    begun.write(claim, [bytes(3 << 20)])
    begun.close()
    refused(part, 0)

    again = begin()
    assert again.filled_bytes == 3 << 20
    again.close()
    journal.chmod(0)
    try:
        journal.read_bytes()
    except PermissionError:
        pass
    else:
        raise AssertionError("the fault does not bite: the journal")
    anew = begin()
    assert anew.filled_bytes == 0
    anew.close()
    assert json.loads(journal.read_bytes())["written"] == []
    print("done")
""")


def test_what_may_not_be_used_is_named_and_locks_nothing() -> None:
    """A part or its folder is named; a journal that cannot be read starts the file over."""
    user = unprivileged()
    with reachable_folder() as folder:
        user.own(folder)
        done = user.run(sys.executable, "-c", SCRIPT, str(folder))
    assert done.stdout == "done\n", f"as {user.who}: {done.stderr}"
