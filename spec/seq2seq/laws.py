"""The laws of encoder–decoders: the memory is all that passes from source to target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.factory import built, copied, fresh, tensors_in
from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import CONTRACT, STRUCTURE, VALUES, law
from seqlaws.spec.seq2seq import LONG, TRAPS, asked, cases, delay, memory_of, seq2seq
from seqlaws.verdict import (
    HOLDS,
    Output,
    Verdict,
    broken,
    consistent,
    differs,
    every,
    finite,
    identical,
    per_entry,
    same,
    vacuous,
    within,
)

if TYPE_CHECKING:
    from seqlaws.run import Run


# behind the last token of a block
BORDERS = (7, 15, 31, 63, 127)
OF_ANY_LENGTH = cases(traps=TRAPS + LONG)
PADDED = cases(padded=True, traps=TRAPS + LONG)


@law(seq2seq, CONTRACT, after=("repeats_itself",))
def finite_tokens_give_finite_outputs(model: Run, x: Inputs) -> Verdict:
    """From finite tokens come finite outputs.

    source, target finite  ⇒  decode(target, encode(source)) finite

    Why: a mean over no tokens at all is 0/0, and one NaN ends a training run. NaN equals NaN, so that
    every comparison of two answers would take it for agreement.
    """
    return finite(model(x).value)


@law(seq2seq, VALUES)
def half_of_the_digits_are_right(model: Run, x: Inputs) -> Verdict:
    """At least half of the digits of a dtype are right, as the same model in float64 shows.

    |y − y in float64| ≤ √u · max |y in float64| for every text, with the unit roundoff u; or half of it in half
    types, whose roundings grow to that in deep models

    Why: there is no reference but the model itself. One that computes in a half type whatever it is given
    agrees with itself everywhere, and its float32 is none.
    """
    out, share = model(x), 0.5 if x.format.half else np.sqrt(x.format.unit)
    if np.isposinf(out.bound).any():
        return vacuous()  # in float64 it does not run, so that nothing is known
    return within(Output(out.value, lambda: (out.reference, share * per_entry(np.abs(out.reference)))))


@law(seq2seq, CONTRACT, after=("repeats_itself", "finite_tokens_give_finite_outputs"))
def the_seed_decides_the_weights(model: Run, x: Inputs) -> Verdict:
    """The same seed makes the same model, and another seed another one.

    make(s, d)(x) = make(s, d)(x), bit by bit;   make(s', d)(x) ≠ make(s, d)(x)

    Why: an experiment that cannot be repeated shows nothing, and seeds that change nothing make five
    runs look like a small variance.
    """

    def answer(seed: int) -> Array:
        def decode(make: Any, tensors: Mapping[str, Any]) -> Any:
            model.frame.draw_random()  # so that whoever sets no seed draws other numbers each time
            it = fresh(make, tensors["source"], seed, x.d_model)
            return it.decode(tensors["target"], memory_of(it, tensors))

        return model.numbers(model.ask(x, decode))

    one, two, other = answer(x.model), answer(x.model), answer(x.model + 1)
    changed = differs(one.reshape(1, -1), other.reshape(1, -1)) if one.size else HOLDS
    return every(identical(two, one), changed)


@law(seq2seq, CONTRACT, after=("repeats_itself",))
def the_memory_is_all_that_passes(model: Run, x: Inputs) -> Verdict:
    """The output depends on the source through the memory alone: equal memories give equal outputs.

    decode(y, m) = decode(y, copy of m), bit by bit, before and after other sources are encoded, and again

    Why: a decoder that looks at the last source instead of the memory works as long as one source is
    handled at a time; beam search, batching and caching hand it memories from elsewhere.
    """

    def question(it: Any, tensors: Mapping[str, Any]) -> Any:
        memory = memory_of(it, tensors)
        first = it.decode(tensors["target"], memory)
        kept = copied(memory)
        for other in (tensors["source"], tensors["source"][:1]):
            it.encode(-2 * other)
        return first, it.decode(tensors["target"], memory), it.decode(tensors["target"], kept)

    first, after, of_the_copy = asked(model, x, question)
    return every(identical(after, first), identical(of_the_copy, first))


@law(seq2seq, STRUCTURE)
def batch_entries_do_not_mix(model: Run, x: Inputs) -> Verdict:
    """A batch of n is n batches of one, and may be permuted.

    f(x)_b = f(x_b)

    Why: a state shared by the batch, or a softmax over the wrong axis, mixes one text into another.
    """
    if x.size("B") < 2:
        return vacuous()
    out, order = model(x), x.permutation("B")
    rows = (0, x.size("B") - 1)
    alone = [consistent(model(x.take("B", [row])), out[row : row + 1]) for row in rows]
    return every(*alone, consistent(model(x.take("B", order)), out[order]))


@law(seq2seq, STRUCTURE, after=("batch_entries_do_not_mix",))
def answers_alike_where_nothing_is_learned(model: Run, x: Inputs) -> Verdict:
    """The output is the same under no_grad and under inference_mode.

    decode(target, encode(source)) under either = the same where gradients are recorded, within the sum of both bounds

    Why: a model is trained in the one mode and translates in the other. A mask that only training needs, or a cache
    that only generation fills, makes two models of one.
    """
    plain = model(x)
    return every(*(same(model(x, mode=mode), plain).called(mode) for mode in ("no_grad", "inference_mode")))


@law(seq2seq, STRUCTURE, cases=OF_ANY_LENGTH)
def outputs_see_the_past_of_the_target_only(model: Run, x: Inputs) -> Verdict:
    """What comes later in the target has no influence, not by a single bit.

    ∂y_t/∂target_u = 0 for u > t, and for u = t where the model shifts its target by itself

    Why: with teacher forcing the answer stands one place ahead. Training on it gives a loss near zero and a
    model that can generate nothing.
    """
    if x.size("T") < 2:
        return vacuous()
    cut = int(x.rng("cut").integers(1, x.size("T")))
    later = np.arange(x.size("T")) >= cut
    other = x.but(target=np.where(later[:, None], x.noise("another future", x.target.shape, 3.0), x.target))
    end = cut + delay(model.dialect)
    return identical(model(other)[:, :end], model(x)[:, :end])


@law(
    seq2seq,
    STRUCTURE,
    cases=OF_ANY_LENGTH,
    after=("batch_entries_do_not_mix", "outputs_see_the_past_of_the_target_only"),
)
def a_prefix_is_decoded_alike(model: Run, x: Inputs) -> Verdict:
    """The first tokens of a target give the same outputs by themselves.

    decode(y_{≤t}, m) = decode(y, m)_{≤t}

    Why: generation decodes prefixes, training whole targets. An output that depends on how long its target
    will become is trained on something that nobody knows yet, though no later token can be read from it.
    """
    size = x.size("T")
    if size < 2:
        return vacuous()
    whole = model(x)
    places = {1, size - 1, int(x.rng("prefix").integers(1, size))}
    return every(*(consistent(model(x.take("T", np.arange(place))), whole[:, :place]) for place in sorted(places)))


@law(seq2seq, STRUCTURE, cases=OF_ANY_LENGTH, after=("batch_entries_do_not_mix",))
def earlier_targets_have_influence(model: Run, x: Inputs) -> Verdict:
    """Every token of the target reaches its own output and the next one, in some text, in float64 at least.

    ∂y_t/∂target_u ≠ 0 for t = u and t = u + 1; one place later where the model shifts its target by itself

    Why: a decoder that does not see what it has written so far repeats itself; a mask that hides one place
    too many makes it guess each token without the one before.
    """
    size, first = x.size("T"), delay(model.dialect)
    if size <= first:
        return vacuous()
    many = texts(x)
    plain, verdicts = together(model(many)), []
    for place in sorted({int(x.rng("place").integers(size - first)), *(each for each in BORDERS if each < size)}):
        target = many.target.copy()
        target[:, place] = x.noise("another token", target[:, place].shape, 2.0)
        seen = np.isin(np.arange(size) - place, (first, first + 1))
        verdicts.append(reaches(together(model(many.but(target=target))), plain, seen))
    return every(*verdicts)


@law(seq2seq, STRUCTURE, cases=cases(padded=True), needs=("padding",), after=("batch_entries_do_not_mix",))
def padding_of_the_source_is_inert(model: Run, x: Inputs) -> Verdict:
    """What stands at a padded place of the source has no influence, not by a single bit.

    padding_s = False  ⇒  ∂y/∂source_s = 0

    Why: padding holds whatever the batch left there. If it leaks, a translation depends on the longest
    sentence of its batch.
    """
    if x.padding is None or x.padding.all():
        return vacuous()
    plain, verdicts = model(x), []
    for purpose, scale in (("noise", 1.0), ("shout", 100.0)):
        loud = x.noise(purpose, x.source.shape, scale)
        verdicts.append(identical(model(x.but(source=np.where(x.padding[..., None], x.source, loud))), plain))
    return every(*verdicts)


@law(seq2seq, STRUCTURE, cases=PADDED, needs=("padding",), after=("padding_of_the_source_is_inert",))
def a_padded_source_equals_the_source_alone(model: Run, x: Inputs) -> Verdict:
    """Padding may be taken off: a padded source gives what its real tokens give by themselves.

    f(source with padding) = f(source without it)

    Why: a mean over padded places, positions counted from the padding, or a last state taken at the end of
    the padding are inert and wrong.
    """
    if x.padding is None:
        return vacuous()
    right = x.padding[:, 0]
    rows = [int(row) for row in np.flatnonzero(right)[:3]]
    verdicts = []
    for row in rows:
        one = x.take("B", [row])
        real = np.flatnonzero(one.padding[0])
        verdicts.append(consistent(model(one), model(one.take("S", real).but(padding=None))))
    return every(*verdicts) if verdicts else vacuous()


@law(seq2seq, STRUCTURE)
def the_size_of_the_memory_is_as_claimed(model: Run, x: Inputs) -> Verdict:
    """Without cross-attention the memory has one size for all sources; with it, it grows with them.

    |encode(source)| is the same for S and 2S + 1 tokens, or larger for the longer one

    Why: "one vector holds the whole sentence" is a bottleneck or it is not; a memory that grows is another
    model, with another cost.

    Source: Sutskever, Vinyals & Le 2014; Bahdanau, Cho & Bengio 2015.
    """
    longer = x.but(padding=None).take("S", np.arange(2 * x.size("S") + 1) % x.size("S"))

    def size(y: Inputs) -> int:
        found: int = model.ask(
            y,
            lambda make, tensors: sum(
                each.numel()
                for each in tensors_in(memory_of(built(make, tensors["source"], x.model, x.d_model), tensors))
            ),
        )
        return found

    short, long = size(x.but(padding=None)), size(longer)
    if model.can("cross_attention"):
        return (
            HOLDS if long > short else broken(f"the memory has {short} numbers for {x.size('S')} tokens and for more")
        )
    return HOLDS if long == short else broken(f"the memory grows from {short} numbers to {long} with the source")


@law(seq2seq, STRUCTURE, cases=OF_ANY_LENGTH, needs=("cross_attention",), after=("batch_entries_do_not_mix",))
def every_source_token_reaches_every_output(model: Run, x: Inputs) -> Verdict:
    """With cross-attention every token of the source has influence on every output, in some text, in float64 at least.

    ∂y_t/∂source_s ≠ 0 for all s, t

    Why: this is what cross-attention is for. Tokens dropped at the end of the source, a causal mask between
    source and target, or a memory cut to a fixed length go unseen in short tests.
    """
    size = x.size("S")
    if x.size("T") == 0:
        return vacuous()
    # every token of a short source; of a long one those around the borders, the ends and three others
    border = {place + more for place in (0, *BORDERS, size - 2) for more in (0, 1) if place + more < size}
    some = range(size) if size < 128 else sorted(border | set(x.rng("tokens").integers(0, size, 3).tolist()))
    few = _reached(model, x, some, 2)
    return few if few.holds else _reached(model, x, some, 16)


def _reached(model: Run, x: Inputs, some: Sequence[int], changes: int) -> Verdict:
    """Whether some tokens of the source reach every output, each in one at least of a few texts."""
    many = texts(x.but(padding=None).take("B", [0]), len(some) * changes)
    source, place = many.source.copy(), np.repeat(some, changes)
    source[np.arange(len(place)), place] = x.noise("another token", (len(place), x.size("E")), 2.0)

    def by_token(out: Output) -> Output:
        return together(out.map(lambda array: array.reshape(len(some), changes, *array.shape[1:]).swapaxes(0, 1)))

    return reaches(by_token(model(many.but(source=source))), by_token(model(many)))


def texts(x: Inputs, count: int = 16) -> Inputs:
    """Enough texts that what a rectifier shuts off in one of them is open in another: these first, then others."""
    size = x.size("B")
    many = x.take("B", np.arange(max(count, size)) % size)
    new = np.arange(max(count, size)) >= size

    def renewed(name: str, array: Array) -> Array:
        return np.where(new[:, None, None], x.noise(f"other texts: {name}", array.shape), array)

    return many.but(source=renewed("source", many.source), target=renewed("target", many.target))


def together(out: Output) -> Output:
    """The numbers of all texts of a batch side by side: what reaches one of them counts."""
    return out.map(lambda array: np.moveaxis(array, 0, -2).reshape(*array.shape[1:-1], -1))


def reaches(one: Output, other: Output, among: Any = True) -> Verdict:
    """Influence is there, in the format under judgement or in float64: a half type may round it away."""
    found = differs(one, other, among)
    if found.holds:
        return found
    if np.isposinf(other.bound).any():
        return vacuous()  # in float64 it does not run, so that nothing is known
    return differs(one.reference, other.reference, among)
