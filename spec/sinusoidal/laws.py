"""The laws of sinusoidal encoding. `sinusoidal` is the implementation and `x` a case."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import EDGES, STRUCTURE, VALUES, law
from seqlaws.spec.positions import FAR, SHIFTS, exactly, product, products, squares
from seqlaws.spec.sinusoidal import cases, every_size, odd_widths, sinusoidal, waves
from seqlaws.verdict import HOLDS, Output, Verdict, consistent, differs, equals, every, joined, vacuous, within

PLACED = ("follows_its_positions", "reads_every_row_of_positions", "does_not_depend_on_the_length")
BEGUN = (*PLACED, "starts_with_zeros_and_ones", "has_one_length")
GROUP = (*BEGUN, "turns_with_the_position", "tells_positions_apart")
NEAR = ("agrees_with_its_definition",)
FAR_OUT = (*NEAR, "agrees_far_out")


@law(sinusoidal, STRUCTURE)
def follows_its_positions(sinusoidal: Any, x: Inputs) -> Verdict:
    """A code belongs to its position: in another order, with gaps or repeated, positions keep their codes.

    f(p_π) = f(p)_π

    Why: left padding, packed documents and cached decoding all have positions that do not count from
    0. Counting the rows instead is right for a single prompt alone.
    """
    length = x.size("T")
    if length < 2:
        return vacuous()
    whole, again = sinusoidal(x), x.rng("repeated positions").integers(length, size=length)
    return every(*(consistent(sinusoidal(x.take("T", i)), _at(whole, i)) for i in (x.permutation("T"), again)))


@law(sinusoidal, STRUCTURE, needs=("batched",), after=("follows_its_positions",))
def reads_every_row_of_positions(sinusoidal: Any, x: Inputs) -> Verdict:
    """With positions [B,T], every row has the codes of its own positions, also where rows begin alike.

    f(P)_b = f(P_b);  f(P')_bt = f(P)_bt behind a beginning that all rows of P' have from the first

    Why: prompts of unequal lengths stand at unequal positions, and packed documents at other ones than
    a single document that begins like them. A table that is made for the first row and expanded is right
    in every test with one prompt.
    """
    if x.positions.ndim < 2 or x.size("B") < 2:
        return vacuous()
    alone = [sinusoidal(x.spelled(positions="T").but(positions=row)) for row in x.positions]
    whole, places = sinusoidal(x), np.arange(x.size("T"))
    own = np.where(places > len(places) // 2, np.arange(x.size("B"))[:, None], 0)
    alike = sinusoidal(x.but(positions=x.positions[own, places]))
    return every(consistent(whole, joined([each[None] for each in alone], 0)), consistent(alike, whole[own, places]))


@law(sinusoidal, STRUCTURE, after=("follows_its_positions",))
def does_not_depend_on_the_length(sinusoidal: Any, x: Inputs) -> Verdict:
    """A position has the same code in a long sequence, in a short one and alone.

    f(p)_{≤n} = f(p_{≤n}),   f(p)_t = f(p_t)

    Why: a model that is trained on one length and used on another, or one token at a time, must meet
    the codes that it has learned.
    """
    length = x.size("T")
    if not length:
        return vacuous()
    whole = sinusoidal(x)
    some = [np.arange(length // 2 + 1), *(np.array([t]) for t in {0, length // 2, length - 1})]
    return every(*(consistent(sinusoidal(x.take("T", index)), _at(whole, index)) for index in some))


@law(sinusoidal, STRUCTURE, after=PLACED)
def starts_with_zeros_and_ones(sinusoidal: Any, x: Inputs) -> Verdict:
    """The code of position 0 is sin 0 = 0 and cos 0 = 1, in the channels that the dialect says.

    PE(0, 2i) = 0,   PE(0, 2i + 1) = 1

    Why: this is where order of channels and first position show at once. Sines first and cosines
    second is as good as alternating ones, but not for weights that were trained with the other.
    """
    sines, cosines = waves(sinusoidal, x, sinusoidal(x.but(positions=np.zeros_like(x.positions))))
    return every(equals(sines, np.zeros(sines.shape)), equals(cosines, np.ones(cosines.shape)))


@law(sinusoidal, STRUCTURE, after=(*PLACED, "starts_with_zeros_and_ones"))
def has_one_length(sinusoidal: Any, x: Inputs) -> Verdict:
    """All codes are equally long.

    ‖PE(p)‖² = Σ_i sin²(p ω_i) + cos²(p ω_i) = d/2

    Why: codes are added to embeddings, and none may be louder than another. Sines and cosines that do
    not belong to the same angle break it.
    """
    length = squares(sinusoidal(x))
    return consistent(length, exactly(np.full(length.shape, x.d_model / 2)))


@law(sinusoidal, STRUCTURE, after=BEGUN)
def turns_with_the_position(sinusoidal: Any, x: Inputs) -> Verdict:
    """Moving on by k positions is a rotation that depends on k alone.

    sin((p + k) ω) = sin(pω) cos(kω) + cos(pω) sin(kω):   PE(p + k) = R(k) PE(p)

    Why: it is the reason for choosing sines and cosines: a linear layer can look k positions back,
    wherever it stands. Quantised or bent angles look the same and break it.

    Source: Vaswani et al. 2017, section 3.5
    """
    step = x.rng("steps").integers(1, 60, x.positions.shape)

    def parts(positions: Any) -> tuple[Output, Output]:
        return waves(sinusoidal, x, sinusoidal(x.but(positions=positions)))

    (sin_p, cos_p), (sin_k, cos_k), (sin, cos) = map(parts, (x.positions, step, x.positions + step))
    return every(
        consistent(sin, product(sin_p, cos_k) + product(cos_p, sin_k)),
        consistent(cos, product(cos_p, cos_k) + product(sin_p, sin_k) * -1.0),
    )


@law(sinusoidal, STRUCTURE, cases=cases(most=16), after=(*BEGUN, "turns_with_the_position"), examples=0.5)
def tells_positions_apart(sinusoidal: Any, x: Inputs) -> Verdict:
    """Different positions have different codes, as long as the codes differ by more than their rounding.

    p ≠ q  ⇒  PE(p) ≠ PE(q)

    Why: neighbours differ by a whole radian in the fastest pair, so that even half precision tells them
    apart wherever they stand. It cannot tell all others: 710 is nearly 113 turns, and at width 2 the
    codes of p and p + 710 agree in four digits. Positions kept in 8 bits collide from 257 on.
    """
    if not x.size("T"):
        return vacuous()
    start = x.rng("far starts").choice(FAR, x.positions.shape)

    def apart(positions: Any, step: int) -> Verdict:
        one, other = (sinusoidal(x.but(positions=each)) for each in (positions, positions + step))
        clear = np.abs(one.reference - other.reference) > one.bound + other.bound
        return differs(one, other, among=clear.any(axis=-1))

    return every(*(apart(each, step) for each in (x.positions, start) for step in (1, 2, 710)))


@law(sinusoidal, STRUCTURE, cases=cases(most=16), after=GROUP, examples=0.5)
def products_depend_on_the_offset_alone(sinusoidal: Any, x: Inputs) -> Verdict:
    """Moving all positions by the same number changes no product of two codes.

    ⟨PE(p + s), PE(q + s)⟩ = ⟨PE(p), PE(q)⟩ = Σ_i cos((p − q) ω_i) for s = 1, 7, 1000 and 100 000

    Why: how alike two codes are tells how far apart they stand, at the end of a book as on its first
    page. Tables that are too short, clamped or stretched beyond some length break it.
    """
    if not x.size("T"):
        return vacuous()

    def alike(shift: int) -> Output:
        codes = sinusoidal(x.but(positions=x.positions + shift))
        return products(codes, codes)

    near = alike(0)
    return every(*(consistent(near, alike(shift)) for shift in SHIFTS))


@law(sinusoidal, VALUES)
def agrees_with_its_definition(sinusoidal: Any, x: Inputs) -> Verdict:
    """Every channel is the sine or cosine of position · 10000^(−2i/d).

    PE(p, 2i) = sin(p · 10000^(−2i/d)),   PE(p, 2i + 1) = cos(p · 10000^(−2i/d))

    Why: a wrong exponent still gives smooth, distinct codes and still trains; weights from elsewhere do
    not fit it, and its slowest pairs repeat too early or never move.

    Source: Vaswani et al. 2017, section 3.5
    """
    return within(sinusoidal(x))


@law(sinusoidal, VALUES, cases=every_size(), after=FAR_OUT, examples=0.25)
def agrees_at_every_size(sinusoidal: Any, x: Inputs) -> Verdict:
    """The definition holds for every width, every number of positions and every number of rows of them.

    the definition, at d = 2 … 4098, T = 31 … 16 385 and B = 7 … 129

    Why: widths that are no power of two or no multiple of 4 show halves that were rounded the other way,
    and long sequences meet the end of whatever was made beforehand.
    """
    return within(sinusoidal(x))


@law(sinusoidal, EDGES, cases=odd_widths(), when={"layout": ("interleaved",)}, after=NEAR, examples=0.25)
def refuses_odd_widths_or_gives_their_codes(sinusoidal: Any, x: Inputs) -> Verdict:
    """An odd width is refused, by an exception or a shape that fits no embedding, or it has its codes.

    PE(p, 2i) = sin(p · 10000^(−2i/d)) for i = 0 … (d − 1)/2, and one cosine less

    Why: with two numbers to a pair, the last sine is alone. Whoever does not provide for it loses that
    channel, or all of them, and codes that are wrong are added to embeddings like any others.
    """
    if x.d_model % 2 == 0:
        return vacuous()
    if sinusoidal.refuses(x) or _channels(sinusoidal, x) != x.d_model:
        return HOLDS
    return within(sinusoidal(x))


def _channels(sinusoidal: Any, x: Inputs) -> int:
    """How many channels the codes have, if they are codes."""
    shape: tuple[int, ...] = sinusoidal.ask(x, lambda it, given: tuple(it(given["positions"], x.d_model).shape))
    return shape[-1] if shape[:-1] == x.positions.shape else x.d_model


@law(sinusoidal, VALUES, cases=cases(most=16, places="far"), after=NEAR, examples=0.5)
def agrees_far_out(sinusoidal: Any, x: Inputs) -> Verdict:
    """Positions up to 1 000 000 have their own codes, and so have they when a text grows until it is there.

    the definition, at p = 255, 256, 257, 4096, 5000, 65 536, 262 143, 1 000 000 …; and before that at
    min(p, 8193), then at min(p, 32 768)

    Why: the formula has no last position. Tables of 5000 rows do, unless they grow, 16 bits end at
    65 535, and half precision skips integers long before.
    """
    stages = [x.but(positions=np.minimum(x.positions, last)) for last in (8193, 32_768)]
    return every(*(within(sinusoidal(each)) for each in (*stages, x)))


@law(sinusoidal, VALUES, needs=("fractional",), after=FAR_OUT)
def reads_positions_between_integers(sinusoidal: Any, x: Inputs) -> Verdict:
    """A fractional position has the code of that very position, and a whole one that of the integer.

    the definition, at p = 0, 1/4, 1/2 … 31 3/4, and behind 0 where negative ones are claimed;
    f(p in a floating dtype) = f(p as an integer), for p = 1 … 10 000

    Why: timesteps of diffusion, stretched contexts and unevenly sampled series are no integers. Cutting
    off the fraction puts several of them in one place, and so does storing them in fewer bits.
    """
    quarters = x.but(positions=(x.positions % 128) / 4.0)
    # an index into a table refuses them by itself, which is an answer too
    if sinusoidal.refuses(quarters):
        return vacuous()
    behind = [quarters.but(positions=-quarters.positions)] if sinusoidal.can("negative") else []
    whole = x.but(positions=np.rint(10.0 ** x.rng("timesteps").uniform(0, 4, x.positions.shape)))
    integers = sinusoidal(x.but(positions=whole.positions.astype(np.int64)))
    fractions = (within(sinusoidal(each)) for each in (quarters, *behind))
    return every(*fractions, consistent(sinusoidal(whole), integers))


@law(sinusoidal, VALUES, needs=("negative",), after=FAR_OUT)
def mirrors_negative_positions(sinusoidal: Any, x: Inputs) -> Verdict:
    """The code of −p has the sines of p with the other sign, and the same cosines, whatever stands beside it.

    PE(−p, 2i) = −PE(p, 2i),   PE(−p, 2i + 1) = PE(p, 2i + 1), for some of the positions of a call, near and far

    Why: relative positions run both ways, from −T to T. As an index into a table, −1 is silently its last
    row, and a table around 0 ends on two sides.
    """
    start = x.rng("far starts").choice(FAR, x.positions.shape)
    sides = x.signs("sides", x.positions.shape).astype(np.int64)

    def mirrored(ahead: Inputs) -> Verdict:
        both = ahead.but(positions=sides * ahead.positions)
        if sinusoidal.refuses(both):  # as the positions between integers
            return vacuous()
        found = sinusoidal(both)
        (sin, cos), (turned, same_cos) = waves(sinusoidal, x, sinusoidal(ahead)), waves(sinusoidal, x, found)
        return every(consistent(turned, sin * sides[..., None]), consistent(same_cos, cos), within(found))

    return every(*(mirrored(x.but(positions=each)) for each in (x.positions, start)))


def _at(codes: Output, index: Any) -> Output:
    """The codes at some places in time, which is the last axis of the positions."""
    return codes.take(index, len(codes.shape) - 2)
