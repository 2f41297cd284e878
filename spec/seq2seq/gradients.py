"""The gradients of encoder–decoders: where they arrive, their values, and the rank that a memory lets through."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.factory import built, tensors_in
from seqlaws.formats import FORMATS, Array, Format
from seqlaws.inputs import Inputs
from seqlaws.law import GRADIENTS, STRUCTURE, law
from seqlaws.spec.seq2seq import delay, encode, finest, seq2seq
from seqlaws.spec.seq2seq.laws import texts
from seqlaws.verdict import HOLDS, Output, Verdict, broken, differs, every, finite, identical, vacuous, within

if TYPE_CHECKING:
    from seqlaws.run import Run


# so near that next to no kink lies in between, and so far that what is rounded away is small beside a slope
STEP = 2.0**-20
STEPS = (0, 1, -1, 2, -2)


@law(seq2seq, GRADIENTS, needs=("gradient",), examples=0.5)
def gradients_reach_source_and_target(model: Run, x: Inputs) -> Verdict:
    """What has influence gets a gradient: every token of the target, and the source; padding gets none.

    ∂⟨y, g⟩/∂target_u ≠ 0 for all u that have an output;  ∂⟨y, g⟩/∂source_s ≠ 0 for all s with
    cross-attention, and for some without;  padding_s = False  ⇒  ∂⟨y, g⟩/∂source_s = 0

    Why: the encoder learns through the memory, and layers below through source and target. A memory that is
    detached decodes as well as before, and what made it stays as it was initialised.
    """
    if not x.target.size:
        return vacuous()
    many = texts(x.but(padding=None))
    back, ahead = (np.moveaxis(each, 0, 1).reshape(each.shape[1], -1) for each in _gradients(model, many))
    back = back if model.can("cross_attention") else back.reshape(1, -1)
    ahead = ahead[: len(ahead) - delay(model.dialect)]
    verdicts = [differs(back, 0 * back).called("∂/∂source"), differs(ahead, 0 * ahead).called("∂/∂target")]
    if finest(model).half:  # what is small may be rounded away
        verdicts = [verdict if verdict.holds else vacuous() for verdict in verdicts]
    if x.padding is not None:
        hidden = _gradients(model, x)[0][~x.padding]
        verdicts.append(identical(hidden, 0 * hidden).called("∂/∂padding"))
    return every(*verdicts)


@law(seq2seq, GRADIENTS, needs=("gradient",), after=("gradients_reach_source_and_target",), examples=0.5)
def gradients_are_the_slopes_of_the_output(model: Run, x: Inputs) -> Verdict:
    """The gradient says how the output changes: along a direction it is the slope of the output itself, in float64.

    ⟨∂⟨y, g⟩/∂x, d⟩ = (φ(h) − φ(−h)) / 2h + O(h²),  φ(τ) = ⟨y(x + τ·d), g⟩,  for the source and for the target

    Why: a step that is detached (the weights of the attention, the state between two tokens) leaves the
    output as it is and a gradient that is wrong but not zero. Such a model trains, and to something worse.
    """
    if not x.target.size or finest(model).name != "float64":
        return vacuous()
    some = x.take("B", np.arange(min(8, x.size("B"))))
    g = some.noise("gradient of the output", some.target.shape)
    verdicts = []
    for name, back in zip(("source", "target"), _gradients(model, some), strict=True):
        d = some.signs(f"direction of the {name}", back.shape)
        slope = (back * d).sum(axis=(1, 2))
        verdicts.append(within(Output(slope, partial(_slope, model, some, name, d, g))).called(f"∂/∂{name}"))
    return every(*verdicts)


def _slope(model: Run, x: Inputs, name: str, d: Array, g: Array) -> tuple[Array, Array]:
    """The slope of ⟨y, g⟩ along a direction, text by text, and the error allowed to it.

    With A(h) = (φ(h) − φ(−h)) / 2h and C = φ(2h) − 4φ(h) + 6φ(0) − 4φ(−h) + φ(−2h), it is A(h) up to the sum of

    - truncation: |A(2h) − A(h)|. The error of A(2h) is about four times that of A(h), so that their
      difference is larger than the latter.
    - a kink at αh, α in [0, 1], where the slope jumps by J: the error is J(1 − α)/2. It puts Jα/4 into
      |A(2h) − A(h)| and J|3α − 2|/2 into |C|/2h, together at least as much. Of a smooth function C is O(h⁴).
    - rounding: every φ is known up to ε, so that A(h) is off by ε/h and A(2h) − A(h) by 3ε/2h. ε is what the
      model's own error in this format makes in float64, the largest of all texts.
    """
    before, ahead, behind, far, back = _weighted(model, x, name, d, g)
    near, wide = (ahead - behind) / (2 * STEP), (far - back) / (4 * STEP)
    curl = far - 4 * ahead + 6 * before - 4 * behind + back
    error = np.abs(g).sum(axis=(1, 2)) * model(x).bound.max() * (FORMATS["float64"].unit / x.format.unit)
    return near, np.abs(wide - near) + np.abs(curl) / (2 * STEP) + 2.5 * error / STEP


def _weighted(model: Run, x: Inputs, name: str, d: Array, g: Array) -> Array:
    """⟨y(x + τ·d), g⟩ for all steps τ and all texts."""

    def put(make: Any, tensors: Mapping[str, Any]) -> Any:
        places = {each: _on_grid(tensors[each]).repeat(len(STEPS), 1, 1) for each in ("source", "target")}
        moved = np.concatenate([step * STEP * d for step in STEPS])
        places[name] = places[name] + places[name].new_tensor(moved.tolist())
        padding = None if x.padding is None else tensors["padding"].repeat(len(STEPS), 1)
        it = built(make, places["source"], x.model, x.d_model)
        out = it.decode(places["target"], encode(it, places["source"], padding))
        return (out * out.new_tensor(g.tolist()).repeat(len(STEPS), 1, 1)).sum((1, 2)).tolist()

    return np.array(model.ask(x, put)).reshape(len(STEPS), -1)


def _gradients(model: Run, x: Inputs) -> tuple[Array, Array]:
    """The gradients of ⟨y, g⟩ with respect to source and target, in the finest format."""
    g, kind = x.noise("gradient of the output", x.target.shape), finest(model)

    def put(make: Any, tensors: Mapping[str, Any]) -> Any:
        source, target = (_on_grid(tensors[name], kind).requires_grad_(True) for name in ("source", "target"))
        it = built(make, source, x.model, x.d_model)
        out = it.decode(target, encode(it, source, tensors["padding"]))
        weighted = (out * out.new_tensor(g.tolist())).sum()
        return [_gradient(weighted, each).tolist() for each in (source, target)]

    back, ahead = (np.array(each) for each in model.ask(x, put))
    return back, ahead


def _on_grid(tensor: Any, kind: Format = FORMATS["float64"]) -> Any:
    """The numbers in a format, as multiples of the step: steps from them are exact."""
    import torch

    return ((tensor.double() / STEP).round() * STEP).to(getattr(torch, kind.name))


@law(seq2seq, STRUCTURE, needs=("gradient",), unless=("cross_attention",), after=("the_memory_is_all_that_passes",))
def the_memory_bounds_what_can_pass(model: Run, x: Inputs) -> Verdict:
    """The outputs cannot depend on more directions of the source than the memory has numbers.

    rank ∂y/∂source ≤ |memory|

    Why: it is what "fixed-size memory" means, measured. A decoder that gets more has another way to the source.
    """
    if finest(model).name != "float64":
        return vacuous()  # a rank is counted where next to nothing is rounded away
    one = x.but(padding=None).take("B", [0])

    def question(it: Any, tensors: Mapping[str, Any]) -> Any:
        source = tensors["source"].double().requires_grad_(True)
        memory = it.encode(source)
        out = it.decode(tensors["target"].double(), memory).reshape(-1)
        held = sum(each.numel() for each in tensors_in(memory))
        rows = [_gradient(each, source) for each in out] if held < min(out.numel(), source.numel()) else []
        return held, [row.reshape(-1).tolist() for row in rows]

    def put(make: Any, tensors: Mapping[str, Any]) -> Any:
        return question(built(make, tensors["source"].double(), x.model, x.d_model), tensors)

    held, rows = model.ask(one, put)
    if not rows:
        return vacuous()
    if not np.isfinite(rows).all():
        return finite(np.array(rows))
    sizes = np.linalg.svd(np.array(rows), compute_uv=False)
    rank = int((sizes > sizes.max(initial=0.0) * 1e-9).sum())
    return HOLDS if rank <= held else broken(f"rank {rank} through a memory of {held} numbers")


def _gradient(out: Any, source: Any) -> Any:
    """The gradient of one number with respect to the source, and zeros if there is none."""
    from torch.autograd import grad

    (found,) = grad(out, source, retain_graph=True, allow_unused=True) if out.requires_grad else (None,)
    return source.new_zeros(source.shape) if found is None else found
