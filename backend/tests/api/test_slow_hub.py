"""A Hub that trickles holds up those who ask it, and nobody else."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from modelyard.api.hub_slots import SLOTS
from support.instance import Instance
from support.trickling_hub import trickling

CALLERS = 45


def test_a_hub_that_trickles_leaves_the_server_to_others(instance: Instance) -> None:
    with trickling() as (hub, endpoint):
        instance.api.put("/settings", json={"endpoint": endpoint})
        stop = threading.Event()

        def ask(number: int) -> tuple[int, dict[str, Any], httpx.Headers]:
            path = ["/models/info/a/b", "/models/search?q=x", "/models/estimate-memory?model_id=a/b"][number % 3]
            with httpx.Client(base_url=f"{instance.url}/api/v1", timeout=200) as client:
                answer = client.get(path)
            return answer.status_code, answer.json(), answer.headers

        with ThreadPoolExecutor(CALLERS) as pool:
            asking = [pool.submit(ask, number) for number in range(CALLERS)]
            try:
                instance.wait_until(lambda: hub.open >= SLOTS, 30, "every slot waits for the Hub")
                # The page asks for all of this while the Hub holds its callers; nothing waits for them.
                for _ in range(10):
                    for path in ("/models", "/settings", "/system", "/trainings"):
                        began = time.monotonic()
                        assert instance.api.get(path).is_success
                        assert hub.open, f"{path} was answered only after the Hub let go"
                        assert time.monotonic() - began < 15
                    if stop.wait(0.1):
                        break
                answered = [future.result() for future in asking if future.done()]
                assert hub.most <= SLOTS + 1, "and the one question of GET /system"
            finally:
                hub.closing.set()
            answers = [future.result() for future in asking]
        refused = [(body, headers) for status, body, headers in answers if status == 503]
        assert len(refused) >= CALLERS - SLOTS
        assert len(answered) >= len(refused) - 1, "they were told at once"
        assert {body["code"] for body, _headers in refused} == {"hub_busy"}
        assert {headers["Retry-After"] for _body, headers in refused} == {"10"}
        assert {status for status, *_ in answers} <= {502, 503}


def test_the_slots_come_back(instance: Instance) -> None:
    """After the storm above, and after clients that leave in the middle."""
    with trickling() as (hub, endpoint):
        instance.api.put("/settings", json={"endpoint": endpoint})
        with ThreadPoolExecutor(SLOTS) as pool:
            for left in [pool.submit(_leave_early, instance) for _ in range(SLOTS)]:
                left.result()
        hub.closing.set()
    instance.api.put("/settings", json={"endpoint": None})
    instance.wait_until(
        lambda: instance.api.get("/models/search", params={"q": "tiny"}).is_success, 30, "the Hub is asked again"
    )


def _leave_early(instance: Instance) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{instance.url}/api/v1/models/search?q=x", timeout=1)
