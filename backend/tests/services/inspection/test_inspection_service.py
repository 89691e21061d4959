"""What is remembered of the inspector's answers, when several find the same one at the same moment."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from modelyard.core.database import Database
from modelyard.models import Inspection
from modelyard.services.inspection.inspection_service import InspectionService


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
