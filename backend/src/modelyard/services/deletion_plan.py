"""What deleting rows frees and keeps: worked out from rows that were read before, while no transaction is open."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.core.errors import ModelInUse, SharedCache
from modelyard.hub.cache.deletion import DeletionPlan as SnapshotPlan
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.cache.scan import Partial
from modelyard.models import Model
from modelyard.schemas.deletion import DeletionPlan, DeletionReport, KeptBytes, RowDeletion
from modelyard.schemas.model import UsedBy
from modelyard.services.adapters import AdapterUse
from modelyard.services.model_files import artifact_files, is_copy, manifest


@dataclass(frozen=True)
class DeletionFacts:
    """What the database says of a row that may be deleted."""

    model: Model
    others: Sequence[Model]
    """The rows that have the same snapshot."""
    partial_owners: frozenset[str]
    """The other rows that may own unfinished files of the repository."""
    used_by: Sequence[UsedBy]
    adapters: Sequence[AdapterUse] = ()
    """The adapters that are made for the row."""


@dataclass(frozen=True)
class RowPlan:
    """What deleting a row frees, as the user is told and as it is done."""

    report: DeletionReport
    siblings: frozenset[str]
    """The rows that need the same snapshot."""
    copies: frozenset[str]
    """The quantized copies that run without the snapshot and keep it only as their original."""
    with_original: bool
    snapshot: SnapshotPlan
    partials: list[Partial]


def plan_row(
    cache: HubCache,
    facts: DeletionFacts,
    gone: Mapping[str, RowPlan] | None = None,
    released: Set[Path] = frozenset(),
    *,
    with_original: bool = False,
) -> RowPlan:
    """Look at a row's files and return what deleting it frees.

    `gone` are the plans, by id, of this repository's rows that will have been deleted by then; `released` is the
    content of every repository that will have been removed. `with_original` gives up the files that other rows keep
    only as the original of their quantized copy.
    """
    gone = gone or {}
    model = facts.model
    artifact = sum(path.stat().st_size for path in artifact_files(model))
    others = [row for row in facts.others if row.id not in gone]
    copies = [row for row in others if is_copy(row)]
    only_copies = bool(copies) and len(copies) == len(others)
    siblings = [] if only_copies and with_original else others
    removed = {partial.path for plan in gone.values() for partial in plan.partials}
    keeps_partials = others or facts.partial_owners - gone.keys()
    partials = [
        partial for partial in ([] if keeps_partials else cache.partials(model.model_id)) if partial.path not in removed
    ]
    after = [other.snapshot for other in gone.values()]

    def plan_snapshot(needed_by: Sequence[Model]) -> SnapshotPlan:
        return cache.plan_deletion(
            model.model_id,
            model.commit,
            files=manifest(model),
            also_needed_by=[model.commit] if needed_by else [],
            reason=_reason_to_keep(model, others, only_copies=only_copies),
            after=after,
            released=released,
        )

    plan = plan_snapshot(siblings)
    report = DeletionReport(
        freed_bytes=plan.freed_bytes + artifact + sum(partial.size_bytes for partial in partials),
        kept_bytes=plan.kept_bytes,
        kept_because=[KeptBytes(bytes=kept.bytes, reason=kept.reason) for kept in plan.kept_because],
        original_bytes=plan_snapshot([]).freed_bytes if only_copies and siblings else 0,
        shared_cache=model.adopted and not siblings,
        used_by=facts.used_by,
        adapters=sorted({use.name for use in facts.adapters if not use.bases - gone.keys() - {model.id}}),
    )
    row_ids, copy_ids = frozenset(row.id for row in siblings), frozenset(row.id for row in copies)
    return RowPlan(report, row_ids, copy_ids, with_original and only_copies, plan, partials)


def _reason_to_keep(model: Model, others: Sequence[Model], *, only_copies: bool) -> str:
    names = ", ".join(sorted(row.quantization.value for row in others))
    if only_copies:
        return f"kept as the original of the quantized copy ({names}), which runs without it"
    return f"the same files serve {model.model_id} in precision {names}"


def plan_rows(
    cache: HubCache, rows: Sequence[DeletionFacts], *, confirm_shared: bool, with_original: bool = False
) -> DeletionPlan:
    """Return what deleting several rows, one after the other in this order, frees and keeps.

    What several of them share comes free with the last; what is kept is what nothing of the set gives up.
    `with_original` is that of every deletion.
    """
    going = {facts.model.id for facts in rows}
    rows = [replace(row, adapters=[use for use in row.adapters if use.id not in going]) for row in rows]
    items = _plan_items(cache, rows, confirm_shared=confirm_shared, with_original=with_original)
    plan = DeletionPlan(freed_bytes=_freed(items), items=items)
    if any(item.original_bytes for item in items if not item.stays):
        more = _plan_items(cache, rows, confirm_shared=confirm_shared, with_original=True)
        plan.original_bytes = _freed(more) - plan.freed_bytes
    return plan


def _freed(items: Sequence[RowDeletion]) -> int:
    return sum(item.freed_bytes for item in items if not item.stays)


def _plan_items(
    cache: HubCache, rows: Sequence[DeletionFacts], *, confirm_shared: bool, with_original: bool
) -> list[RowDeletion]:
    gone: dict[str, dict[str, RowPlan]] = {}
    released: set[Path] = set()
    items: list[RowDeletion] = []
    for facts in rows:
        of_repository = gone.setdefault(facts.model.model_id, {})
        plan = plan_row(cache, facts, of_repository, released, with_original=with_original)
        stays = bool(plan.report.used_by) or (plan.report.shared_cache and not confirm_shared)
        items.append(RowDeletion(id=facts.model.id, stays=stays, **plan.report.model_dump()))
        if not stays:
            of_repository[facts.model.id] = plan
            released.update(plan.snapshot.blobs)
    for item, facts in zip(items, rows, strict=True):
        if item.kept_bytes:
            kept = plan_row(cache, facts, gone[facts.model.model_id], released, with_original=with_original).report
            item.kept_bytes, item.kept_because = kept.kept_bytes, kept.kept_because
            item.original_bytes = kept.original_bytes
    return items


def confirmed_plan(
    cache: HubCache, facts: DeletionFacts, *, confirm_shared: bool, with_original: bool = False
) -> RowPlan:
    """Return what a deletion begins with, after a look at the files.

    Raises StorageDenied, Conflict where a folder is a link, ModelInUse, and SharedCache when files that others brought
    would go without a confirmation.
    """
    plan = plan_row(cache, facts, with_original=with_original)
    require_free(facts.model, plan, facts.used_by, confirm_shared=confirm_shared)
    if not plan.siblings:
        cache.require_removable(facts.model.model_id, facts.model.commit)
    return plan


def require_free(model: Model, plan: RowPlan, used_by: Sequence[UsedBy], *, confirm_shared: bool) -> None:
    """Raise ModelInUse or SharedCache unless the row may be deleted."""
    if used_by:
        raise ModelInUse(
            f"{model.model_id} is {used_by[0].name}.",
            hint="Unload it first." if used_by[0].kind == "loaded" else "Cancel the run first.",
            used_by=[user.model_dump() for user in used_by],
        )
    if plan.report.shared_cache and not confirm_shared:
        raise SharedCache(
            f"The files of {model.model_id} were in the shared Hugging Face cache before Modelyard used them;"
            " other tools may rely on them.",
            freed_bytes=plan.report.freed_bytes,
        )
