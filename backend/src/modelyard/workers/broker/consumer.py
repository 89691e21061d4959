"""Celery's consumer for wake-ups: what is none does not reach Celery, which some of it would end."""

import logging
from collections.abc import Sequence
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

from modelyard.workers.broker.messages import log_dropped, wakeup_problem

logger = logging.getLogger(__name__)

_LOGGERS = (__name__, "celery.worker.request", "celery.worker.consumer.consumer")


class LostConnections(logging.Filter):
    """Makes warnings of one line of what is written, with a traceback, about a connection that was lost.

    A message that could not be acknowledged comes again, and its job's row tells that it has run.
    """

    def __init__(self, errors: Sequence[type[BaseException]]) -> None:
        super().__init__()
        self._errors = tuple(errors)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], self._errors):
            record.exc_info = None
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        return True


class Consumer(CeleryConsumer):
    """Drops messages that are no wake-ups."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        consumer: Any = self
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(LostConnections(consumer.connection_errors))

    def create_task_handler(self, *args: Any, **options: Any) -> Any:
        consumer: Any = self
        receive = super().create_task_handler(*args, **options)

        def receive_wakeup(message: Any) -> None:
            problem = wakeup_problem(message)
            if problem is None and message.headers["task"] not in consumer.strategies:
                problem = "there is no such task"
            if problem is None:
                receive(message)
                return
            log_dropped(problem, str((message.delivery_info or {}).get("routing_key")), message.body)
            message.reject_log_error(logger, consumer.connection_errors)

        return receive_wakeup
