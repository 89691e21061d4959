"""Workers that begin anew whenever they hold no model, whatever their memory."""

from modelyard.workers import inference_tasks
from modelyard.workers.celery_app import celery_app

__all__ = ["celery_app"]

inference_tasks.EMPTY_RSS_BYTES = 0
