"""Celery's consumer for wake-ups: what is none does not reach Celery, which some of it would end."""

import logging
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

from modelyard.workers.broker.messages import log_dropped, wakeup_problem

logger = logging.getLogger(__name__)


class Consumer(CeleryConsumer):
    """Drops messages that are no wake-ups."""

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
