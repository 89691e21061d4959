"""Running a skeleton: a forward pass on the meta device computes shapes only, whatever the size of the model."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from modelyard.ml.inspect.meta_model import MetaModel, first_line
from modelyard.ml.inspect.meta_results import RememberedResults
from modelyard.ml.inspect.token_loops import LoopNotUnderstood, OnSkip, TokenLoops

_READS_VALUES = "reads_values"  # finding: the model's code asks for the values of tensors
_RESULTS = "results"  # finding: what operators made of the tensors of earlier passes


class CannotRun(Exception):
    """The model's forward pass does not run on the meta device; the message is a sentence for the user."""


def forward(skeleton: MetaModel, *, batch: int, sequence: int, on_skip: OnSkip | None = None, **arguments: Any) -> Any:
    """Return the outputs, as meta tensors, of one prefill of token ids without padding.

    Of loops over the tokens that make the same tensors in every turn, a few turns are run; `on_skip` is told of the
    others. `arguments` that the model's forward knows are passed on, others are left out.
    Raises `CannotRun` if the model needs other inputs or values that only real tensors have.
    """
    if skeleton.config.is_encoder_decoder:
        raise CannotRun("An encoder-decoder model needs two inputs; only decoder-only models are run here.")
    if not skeleton.findings.get(_READS_VALUES):
        try:
            return _call(skeleton, batch, sequence, on_skip, arguments)
        except CannotRun:
            raise
        except RuntimeError as error:
            if "meta tensor" not in str(error):
                raise _cannot_run(error) from error
        except Exception as error:  # modelling code raises anything when an input is not to its liking
            raise _cannot_run(error) from error
        skeleton.findings[_READS_VALUES] = True
    with _ScalarsInvented():  # type: ignore[no-untyped-call]
        try:
            return _call(skeleton, batch, sequence, on_skip, arguments)
        except CannotRun:
            raise
        except Exception as error:  # as above
            raise _cannot_run(error) from error


def _call(skeleton: MetaModel, batch: int, sequence: int, on_skip: OnSkip | None, arguments: Mapping[str, Any]) -> Any:
    ids = torch.zeros(batch, sequence, dtype=torch.long, device="meta")
    known = inspect.signature(skeleton.model.forward).parameters
    results = RememberedResults(skeleton.findings.setdefault(_RESULTS, {}))
    with torch.no_grad(), results, _KernelOutputs(), TokenLoops(sequence, on_skip).over(skeleton.model):
        return skeleton.model(input_ids=ids, **{name: value for name, value in arguments.items() if name in known})


def _cannot_run(error: Exception) -> CannotRun:
    if isinstance(error, LoopNotUnderstood):
        return CannotRun("The model's code needs the result of every token's turn of a loop.")
    if "meta" in str(error):
        return CannotRun("The model's code steers by the values of tensors, and without weights there are none.")
    return CannotRun(f"The model does not run without weights: {first_line(error)}")


class _ScalarsInvented(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers `.item()` on a meta tensor: truth values are true (nothing is padded), numbers are zero.

    Such values steer masks, warnings and scaling, not the shapes we want.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].device.type == "meta":
            return True if args[0].dtype is torch.bool else torch.zeros((), dtype=args[0].dtype).item()
        return func(*args, **(kwargs or {}))


class _KernelOutputs(TorchFunctionMode):
    """Replaces two kernels by their output alone: on the meta device the one for attention falls apart into matrix
    products with all their scores, and the one for experts takes bfloat16 only."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _attention_output(*args, **(kwargs or {}))
        if func is torch._grouped_mm:
            return args[0].new_empty(args[0].shape[0], args[1].shape[-1])
        return func(*args, **(kwargs or {}))


def _attention_output(query: torch.Tensor, _key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    # Kernels write (batch, tokens, heads, size) and hand out a transposed view, so that merging heads copies nothing.
    batch, heads, tokens, _size = query.shape
    return query.new_empty(batch, tokens, heads, value.shape[-1]).transpose(1, 2)
