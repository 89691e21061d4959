"""How many small faults the fast tests of a part notice: `make mutants`, or `python -m mutants [PART …]` in here.

Each mutant is a module with one operator, constant or keyword changed (by cosmic-ray), drawn with a fixed seed from all
that there are. The tests of its part run in a process that was forked after the libraries were imported, with the
mutant in place of the module; no file is changed. Numbers and flags of a module's own constants are left alone, because
they tune and do not decide. What tests run in other processes is the module as it is.
"""

import argparse
import ast
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import conftest  # gives the libraries their environment

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "src" / "modelyard"
LIMIT_SECONDS = 300.0
OPERATORS = (
    *("AddNot", "ReplaceUnaryOperator_Delete_Not", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak"),
    *("NumberReplacer", "ZeroIterationForLoop", "ExceptionReplacer"),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Lt_GtE", "Gt_LtE")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul")),
)


@dataclass(frozen=True)
class Part:
    """`modules` are changed, `tests` have to notice; both are paths. `libraries` are imported once."""

    modules: Sequence[str]
    tests: Sequence[str]
    libraries: Sequence[str] = ("httpx", "pydantic", "sqlalchemy", "huggingface_hub")
    without: str = "postgres"
    """Tests that are left out: those that measure, or run in processes of their own."""


PARTS = {
    "fetcher": Part(
        [f"hub/download/{name}.py" for name in ("fetcher", "scheduler", "part_file", "blocks", "verifier")],
        ["hub/download/test_scheduler.py", "hub/cache/test_hub_cache.py", "hub/download/test_fetcher.py"],
        without="memory or bandwidth or time_left or kill or certificate or slow",
    ),
    "estimator": Part(
        ["ml/inspect/memory.py", "ml/quantize/quantization_plan.py", "services/facts/header_estimate.py"],
        ["ml/inspect/test_memory.py", "services/facts/test_header_estimate.py"],
        ("torch", "transformers", "transformers.models.auto.modeling_auto", "bitsandbytes", "sqlalchemy", "pydantic"),
    ),
    "jobs": Part(
        [f"services/jobs/{name}.py" for name in ("job_service", "control", "queries")],
        ["services/jobs/test_job_service.py"],
        ("sqlalchemy", "sqlalchemy.dialects.sqlite.pysqlite", "alembic.command", "pydantic", "huggingface_hub"),
    ),
}


@dataclass(frozen=True)
class Mutant:
    """`source` is the whole module, `line` where it differs, `before` and `after` that line."""

    path: Path
    source: str
    line: int
    before: str
    after: str

    @property
    def module(self) -> str:
        return ".".join(("modelyard", *self.path.relative_to(PACKAGE).with_suffix("").parts))

    def __str__(self) -> str:
        place = f"{self.path.relative_to(PACKAGE)}:{self.line}"
        return f"{place}\n    - {self.before.strip()}\n    + {self.after.strip()}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield every mutant of a module that can be parsed and differs outside of its own constants."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = path.read_text(encoding="utf-8")
    constants, signatures = _lines_of_constants(source), _signatures(source)
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        occurrence = 0
        while (changed := mutate_code(source, operator, occurrence)) is not None:
            occurrence += 1
            pairs = enumerate(zip(source.splitlines(), changed.splitlines(), strict=False), 1)
            differing = [(line, before, after) for line, (before, after) in pairs if before != after]
            if differing and differing[0][0] not in constants and _signatures(changed) == signatures:
                yield Mutant(path, changed, *differing[0])


def _lines_of_constants(source: str) -> set[int]:
    statements = ast.parse(source).body
    constants = [item for item in statements if not isinstance(item, ast.FunctionDef | ast.ClassDef)]
    return {line for item in constants for line in range(item.lineno, (item.end_lineno or item.lineno) + 1)}


def _signatures(source: str) -> list[tuple[int, int, int]] | None:
    """Return how many parameters of each kind functions have, which a `*` between them decides; None of no Python."""
    try:
        found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.arguments)]
    except SyntaxError:
        return None
    return [(len(item.posonlyargs), len(item.args), len(item.kwonlyargs)) for item in found]


class _InPlace(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads a mutant instead of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != self.mutant.module:
            return None
        return importlib.util.spec_from_file_location(name, self.mutant.path, loader=self)  # type: ignore[arg-type]

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.source, str(self.mutant.path), "exec"), vars(module))  # noqa: S102


def passes(part: Part, mutant: Mutant | None) -> bool:
    """Return whether the tests pass; those that do not end within their limit fail."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os._exit(_run(part, mutant))
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            _end(child)
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.05)
    _end(child)
    os.waitpid(child, 0)
    return False


def _end(group: int) -> None:
    """End what a run has left behind, too."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _run(part: Part, mutant: Mutant | None) -> int:
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    if mutant is not None:
        sys.meta_path.insert(0, _InPlace(mutant))
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not thorough and not sae", "-k", f"not ({part.without})"]
    return int(pytest.main([*options, *(str(TESTS / path) for path in part.tests)], plugins=[_Imported()]))


class _Imported:
    """Has pytest take the `conftest` that was imported before the libraries, which it gives their environment."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self, early_config: pytest.Config) -> None:
        early_config.pluginmanager.consider_conftest(conftest, registration_name=str(TESTS / "conftest.py"))


def check(name: str, count: int, seed: int) -> float:
    """Print what survives of one part; return the share that was noticed."""
    part = PARTS[name]
    begun = time.monotonic()
    if not passes(part, None):
        sys.exit(f"{name}: the tests fail without any mutant")
    everything = [mutant for path in part.modules for mutant in mutants_of(PACKAGE / path)]
    drawn = random.Random(seed).sample(everything, min(count, len(everything)))
    survivors = []
    for mutant in drawn:
        if passes(part, mutant):
            survivors.append(mutant)
            print(f"survived: {mutant}", flush=True)
    noticed = 1 - len(survivors) / len(drawn)
    seconds = time.monotonic() - begun
    print(f"{name}: {len(drawn)} of {len(everything)} mutants, {noticed:.0%} noticed, {seconds:.0f} s", flush=True)
    return noticed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[*PARTS])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=17)
    arguments = parser.parse_args()
    for name in arguments.parts:
        for library in PARTS[name].libraries:
            importlib.import_module(library)
        check(name, arguments.count, arguments.seed)


if __name__ == "__main__":
    main()
