"""Heavy work for the tests of `run_child`: what it does is in the request."""

import atexit
import gc
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from modelyard.core.errors import AlreadyExists
from modelyard.core.process import Report, child_main


def work(request: dict[str, Any], report: Report) -> dict[str, Any]:
    print("libraries print to standard output, which must not be mistaken for an answer")
    for step in range(request.get("steps", 0)):
        report({"step": step})
    match request["do"]:
        case "error":
            raise AlreadyExists("It is there.", hint="Look.", id="1")
        case "bug":
            raise ValueError("a bug")
        case "write":
            Path(request["path"]).write_bytes(bytes(1 << 20))
        case "environment":
            return {"environment": dict(os.environ), "shown": Path("/proc/self/environ").read_text()}
        case "parent":
            return {"parent": os.getppid()}
        case "describe":
            return _describe()
        case "wait":
            report({"pids": [os.getpid()]})
            while not Path(request["until"]).exists():
                time.sleep(0.01)
        case "leave":
            ended, joined = Path(request["folder"]) / "ended", Path(request["folder"]) / "joined"
            atexit.register(lambda: ended.write_text(str(joined.exists())))
            threading.Timer(0.1, joined.touch).start()
            print("the last words", end="")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            report({"pids": [os.getpid(), grandchild.pid]})
            time.sleep(60)
    return {"sum": request["a"] + request["b"]}


def _describe() -> dict[str, Any]:
    """All that a process is given by the one that starts it, except its ids."""
    return {
        "arguments": sys.argv[1:],
        "collects garbage": gc.isenabled(),
        "descriptors": sorted(int(each.name) for each in Path("/proc/self/fd").iterdir() if each.exists()),
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "leads its group": os.getpgrp() == os.getpid(),
        "limits": [resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE)],
        "main": __name__,
        "niceness": os.nice(0),
        "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "temporary": tempfile.gettempdir(),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "umask": Path("/proc/self/status").read_text().partition("Umask:")[2].split()[0],
    }


if __name__ == "__main__":
    child_main(work)
