"""What is remembered of the inspector's answers, and what is not."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from modelyard.core import extras
from modelyard.core.database import Database
from modelyard.core.extras import Extra
from modelyard.models import Inspection
from modelyard.services.inspection.inspection_service import InspectionFailed, InspectionService


def test_an_answer_that_another_keeps_at_the_same_moment_is_no_failure(database: Database) -> None:
    """A request to load a model asks what the estimates of models that became ready ask in the background."""
    service, key = InspectionService(database), ("some/model", "c" * 40, "memory")
    with ThreadPoolExecutor(1) as pool:
        with database.session() as session:
            model_id, commit, question = key
            session.add(Inspection(model_id=model_id, commit=commit, question=question, answer={"by": "first"}))
            session.flush()
            second = pool.submit(service.remember, *key, {"by": "second"})
            with pytest.raises(TimeoutError):  # it waits for this transaction
                second.result(timeout=0.5)
        second.result(timeout=10)
    assert service.recall(*key) == {"by": "second"}


def test_without_torch_nothing_is_asked_or_remembered(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    service = InspectionService(database)
    with monkeypatch.context() as without:
        without.setitem(extras._MODULES, Extra.TORCH, ("no_such_module",))
        with pytest.raises(InspectionFailed) as failed:
            service.ask("support", "some/model", "c" * 40, {"model_type": "llama"}, seconds=5, files=[])
    error = failed.value
    assert (error.reason_code, error.message) == ("extra_missing", "modelyard[torch] is not installed.")
    assert (error.passing, error.is_about_the_model) == (False, False)
    assert not service.is_known("support", "some/model", "c" * 40)
