"""Encoder–decoders: known facts of the shipped models, and how a model without a reference is judged."""

from __future__ import annotations

import numpy as np
import torch

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


def test_retrieval_by_content_is_as_sharp_as_its_weight() -> None:
    torch.manual_seed(0)
    states, scores = torch.randn(4, 7, 5, dtype=torch.float64), torch.randn(4, 7, dtype=torch.float64) * 4
    weights = torch.softmax(scores, dim=-1)
    best = weights.argmax(dim=-1)
    chosen = states[torch.arange(4), best]
    read = (weights[:, None] @ states)[:, 0]
    diameter = torch.cdist(states, states).amax(dim=(1, 2))
    assert ((read - chosen).norm(dim=-1) <= (1 - weights.amax(dim=-1)) * diameter).all()


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
