import logging
from pathlib import Path

import pytest
from kombu import Connection, Queue

from modelyard.workers.broker.consumer import LostConnections
from support.redis_server import redis_server

QUEUE = Queue("downloads")


def test_an_acknowledgement_that_got_lost_is_a_warning_of_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("test.acknowledgements")
    with redis_server(tmp_path) as server, Connection(server.url, transport_options={"max_retries": 0}) as connection:
        connection.Producer().publish("job", routing_key="downloads", declare=[QUEUE])
        message = QUEUE(connection.default_channel).get()
        assert message is not None
        server.kill()
        logger.addFilter(LostConnections(connection.connection_errors))
        message.ack_log_error(logger, connection.connection_errors)
    (record,) = [record for record in caplog.records if record.name == logger.name]
    assert "Couldn't ack" in record.getMessage()
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)


def test_another_error_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("test.errors")
    logger.addFilter(LostConnections([ConnectionError]))
    try:
        raise ValueError("not about a connection")
    except ValueError:
        logger.exception("something else")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
