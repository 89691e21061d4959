"""Heavy work for the tests of `run_child`: what it does is in the request."""

import os
import signal
import subprocess
import sys
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
            return {"environment": Path("/proc/self/environ").read_text()}
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            report({"pids": [os.getpid(), grandchild.pid]})
            time.sleep(60)
    return {"sum": request["a"] + request["b"]}


if __name__ == "__main__":
    child_main(work)
