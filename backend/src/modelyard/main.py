"""The API process: wiring only."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from huggingface_hub import constants
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import modelyard
from modelyard.api import health, pages, problems
from modelyard.api.body_limit import MAX_JSON_BYTES, PayloadTooLargeMiddleware
from modelyard.api.compression import CompressionMiddleware
from modelyard.api.description import describe
from modelyard.api.hub_slots import HubSlots
from modelyard.api.openai.router import router as openai_router
from modelyard.api.plain_text import PlainTextMiddleware
from modelyard.api.public_address import OwnNames, PublicAddressMiddleware
from modelyard.api.security import SecurityMiddleware
from modelyard.api.v1.router import router
from modelyard.api.wrong_keys import WrongKeys
from modelyard.core import migrate
from modelyard.core.database import Database, get_database, utc_now
from modelyard.core.errors import DatabaseUnavailable
from modelyard.core.settings import get_settings
from modelyard.core.start_process import given_channel
from modelyard.hub.server.app import create_hub_app
from modelyard.hub.server.samples import SampleSource
from modelyard.hub.sources import RepoSource
from modelyard.services.bundles.uploads import BundleUploads
from modelyard.services.event_hub import EventHub
from modelyard.services.inference.inference_service import InferenceService
from modelyard.services.inspection.inspection_service import close_inspector, warm_up_inspector
from modelyard.services.jobs.job_service import JobService
from modelyard.services.maintenance import answer_late, maintain, refine_estimates, watch_updates
from modelyard.services.served_models import ServedModels
from modelyard.services.settings_service import SettingsService
from modelyard.services.shared_folders import mark_folders
from modelyard.services.system_service import HubWatch
from modelyard.services.training.dataset_service import DatasetService

logger = logging.getLogger(__name__)

DESCRIPTION = """Manage Hugging Face transformer models: what they need, getting them, using them.

Errors are RFC 9457 problem documents with a stable `code`, a `detail` that says what happened and a `hint` that says
what to do next. Where the server has a key, send `Authorization: Bearer <key>`.

Long work (downloads, imports, quantizations, loads, training runs) is answered at once with 202 and the row; the row's
`progress` tells how far it is.

## Live events

The WebSocket `/api/v1/events` tells what changes. Nothing is sent to it; with a key, it takes the same header, or the
cookie of `POST /api/v1/session`. Its first message holds the rows something is happening to:

```json
{"type": "snapshot", "epoch": "5f1c…", "seq": 41, "models": [], "trainings": [], "counts": {"ready": 12}}
```

Every message after that has the next `seq` and one whole row, as the REST calls answer it:

```json
{"type": "model.download.progress", "epoch": "5f1c…", "seq": 42, "model": {"id": "6f0d…", "status": "downloading"}}
```

| `type` | when |
|---|---|
| `model.download.progress`, `model.quantize.progress` | work on a model goes on |
| `model.download.completed`, `model.download.failed` | it has ended |
| `model.updated`, `model.loaded`, `model.unloaded` | anything else about a model has changed |
| `training.progress`, `training.updated` | the same of a training run, as `training` |
| `model.deleted`, `training.deleted` | a row is gone; only its `id` |

A row has at most five messages a second. A client that sees a gap in `seq`, or another `epoch`, fetches the lists
again: it missed something, or the server was restarted. One that reads too slowly gets another snapshot.

With `?batch=true` everything after the snapshot comes in batches, at most five a second, of each row only the newest
state. A batch covers all from `from_seq` to `seq`:

```json
{"type": "batch", "epoch": "5f1c…", "from_seq": 42, "seq": 91, "models": [], "trainings": [], "deleted": ["6f0d…"]}
```

The schema `Event` describes every message."""


def create_app() -> FastAPI:
    """Return the application for the settings of the environment; tables are brought up to date when it starts."""
    settings = get_settings()
    database = get_database()
    app = FastAPI(
        title="Modelyard",
        version=modelyard.__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.database = database
    app.state.event_hub = EventHub(database)
    app.state.inference = InferenceService(database)
    app.state.hub_watch = HubWatch()
    app.state.hub_slots = HubSlots()
    app.state.wrong_keys = WrongKeys()
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    problems.install(app)
    app.include_router(router, max_body_size=MAX_JSON_BYTES, responses=problems.problems())
    app.include_router(health.router, max_body_size=MAX_JSON_BYTES, responses=problems.problems())
    app.include_router(openai_router, max_body_size=MAX_JSON_BYTES)
    served = app.state.served_models = ServedModels(database, Path(constants.HF_HUB_CACHE))
    sources: list[RepoSource] = [SampleSource(settings.samples_folder), served]
    app.mount("/hub", create_hub_app(sources, api_key=settings.api_key))
    pages.install(app)
    # The last one added is the first one asked.
    app.add_middleware(CompressionMiddleware)
    app.add_middleware(PayloadTooLargeMiddleware)
    app.add_middleware(PlainTextMiddleware)
    names = OwnNames(settings)
    app.add_middleware(SecurityMiddleware, settings=settings, names=names, wrong_keys=app.state.wrong_keys)
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
    app.add_middleware(PublicAddressMiddleware, settings=settings, names=names)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = get_settings()
    database: Database = app.state.database
    settings.prepare_home()
    DatasetService().remove_unfinished()
    BundleUploads().remove_stale()
    await _bring_up_to_date(database)
    remembering = asyncio.create_task(_remember_how_it_runs(database, settings.local_url))
    if not database.availability.is_away():
        await remembering
    duties = (
        app.state.event_hub.run(),
        maintain(database),
        refine_estimates(database),
        answer_late(database),
        watch_updates(database),
        app.state.served_models.keep_learning(),
        # Where it can be forked, it starts within moments of the first question, and takes no memory before.
        *([] if given_channel() else [asyncio.to_thread(warm_up_inspector)]),
    )
    tasks = [remembering, *(asyncio.create_task(duty) for duty in duties)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(close_inspector)
        database.dispose()


async def _bring_up_to_date(database: Database) -> None:
    """Apply missing migrations: now, or where the database is away, before it counts as being back."""
    database.availability.require(lambda: migrate.upgrade(database))
    if not database.availability.is_away():
        await _patiently(lambda: migrate.upgrade(database), give_up=database.availability.is_away)


async def _remember_how_it_runs(database: Database, url: str) -> None:
    begun = utc_now()

    def remember() -> None:
        with database.session() as session:
            # Only a server that has its database to itself knows that nobody waits any more.
            if session.get_bind().dialect.name == "sqlite":
                JobService(session).stop_texts(before=begun)
            stored = SettingsService(session)
            stored.remember_server_url(url)
            stored.remember_path_rules()
        mark_folders(database)

    await _patiently(remember)


async def _patiently(work: Callable[[], None], give_up: Callable[[], bool] = lambda: False) -> None:
    """Do work that needs the database, again and again while that is away or busy.

    Raises the subclasses of DatabaseUnavailable, which are about a file and need a person.
    """
    while True:
        try:
            await asyncio.to_thread(work)
        except DatabaseUnavailable as error:
            if error.code != DatabaseUnavailable.code:
                raise
            if give_up():
                return
            await asyncio.sleep(0.5)
        else:
            return
