"""Encoder–decoders: known facts of the shipped models, and how a model without a reference is judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import seqlaws
from seqlaws import Implementation
from seqlaws.adapters import torch_seq2seq as models
from seqlaws.factory import built, copied, fresh, tensors_in
from seqlaws.formats import FORMATS
from seqlaws.run import Run
from seqlaws.spec.seq2seq import Seq2seqCase

CASE = Seq2seqCase(3, 5, 4, 8, model=1, seed=1)


def test_a_single_source_token_gets_all_the_attention() -> None:
    model = models.factory(models.AdditiveAttention)(0, 8)
    source, target = torch.randn(2, 1, 8), torch.randn(2, 3, 8)
    states, _ = model.encode(source)
    other = model.decode(target, (torch.cat([states, 9 * states], dim=1), torch.tensor([[True, False]] * 2)))
    read = models.stepped(model.decoder, target, 9 * states[:, -1])
    alone = model.head(torch.tanh(model.join(torch.cat([read, states.expand(-1, 3, -1)], dim=-1))))
    torch.testing.assert_close(other, alone)


def test_making_a_model_leaves_random_generators_alone() -> None:
    before = torch.get_rng_state()
    fresh(models.context.call, torch.empty(0), 3, 8)
    assert torch.equal(before, torch.get_rng_state())


def test_the_model_of_a_seed_is_kept_and_copies_are_apart() -> None:
    like = torch.empty(0, dtype=torch.float64)
    model = built(models.additive.call, like, 3, 8)
    assert built(models.additive.call, like, 3, 8) is model
    memory = model.encode(torch.ones(1, 2, 8, dtype=torch.float64))
    other = copied(memory)
    assert [each.data_ptr() for each in tensors_in(memory)] != [each.data_ptr() for each in tensors_in(other)]
    assert all(map(torch.equal, tensors_in(memory), tensors_in(other)))


def test_the_error_of_a_model_is_read_off_its_own() -> None:
    bounds = {}
    for name, format in FORMATS.items():
        out = Run(models.additive, "cpu", name)(CASE.inputs(format))
        assert (np.abs(out.value - out.reference) <= out.bound).all()
        bounds[name] = float(out.bound.max())
    assert bounds["float64"] < 1e-12 < bounds["float32"] < 1e-4 < bounds["bfloat16"]


def test_a_model_need_not_run_in_a_dtype_that_it_does_not_declare() -> None:
    def single(seed: int, d_model: int) -> Any:
        model = models.additive.call(seed, d_model)
        encode = model.encode

        def refusing(source: torch.Tensor, **options: Any) -> Any:
            if source.dtype != torch.float32:
                raise TypeError("float32 only")
            return encode(source, **options)

        model.encode = refusing
        return model

    declared = {"can": models.additive.can, "dialect": models.additive.dialect, "dtypes": ("float32",)}
    report = seqlaws.check(Implementation(name="single", subject="seq2seq", call=single, **declared), profile="quick")
    assert report.broken == []
    assert report.count("holds") > 10 and report.count("vacuous") > 0
