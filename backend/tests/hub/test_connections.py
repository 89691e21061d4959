"""Connections to a Hub in a process that starts others."""

import os
import signal
import threading
import time

from huggingface_hub.utils import close_session, get_session

from modelyard.hub.client import HubClient

from .test_client import COMMIT, GOOD, NAME, as_json, scripted_hub


def test_a_fork_does_not_wait_for_what_another_thread_holds() -> None:
    """The server starts programs while its threads ask Hubs; between fork and exec nothing may wait for those."""
    close_session()
    with scripted_hub(lambda _path: as_json(GOOD)) as hub:
        client = HubClient(hub.endpoint, False)
        assert client.model_info(NAME).commit == COMMIT
        [transport] = get_session()._transport._transports.values()  # type: ignore[attr-defined]
        taken, given_back = threading.Event(), threading.Event()

        def hold() -> None:
            with transport._pool._optional_thread_lock:
                taken.set()
                given_back.wait(30)

        holder = threading.Thread(target=hold)
        holder.start()
        assert taken.wait(5)
        child = os.fork()
        if child == 0:
            os._exit(0)  # what is registered for a child has run by now
        try:
            end = time.monotonic() + 10
            while os.waitpid(child, os.WNOHANG) == (0, 0):
                assert time.monotonic() < end, "the child waits for a lock"
                time.sleep(0.01)
        except AssertionError:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        finally:
            given_back.set()
            holder.join()
        # The parent's connections are whole.
        assert client.model_info(NAME).commit == COMMIT
        close_session()
