"""Rotary encoding as rotations: the identity, lengths, sums of angles, inverses, and what scores depend on."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import STRUCTURE, law
from seqlaws.spec.positions import SHIFTS, exactly, products, squares
from seqlaws.spec.rotary import after, cases, pairs, rotary
from seqlaws.spec.rotary.structure import SOUND
from seqlaws.verdict import Verdict, consistent, equals, every, vacuous

LINEAR = (*SOUND, "lets_the_rest_pass", "is_linear")
TURNS = (*LINEAR, "rests_at_position_zero", "keeps_lengths")
GROUP = (*TURNS, "can_be_turned_back", "adds_up")


@law(rotary, STRUCTURE, cases=cases(fill="grid"), after=SOUND)
def is_linear(rotary: Any, x: Inputs) -> Verdict:
    """The encoding of a sum is the sum of the encodings, and twice the input is twice the output.

    f(x + z) = f(x) + f(z),   f(2x) = 2 f(x)

    Why: it is a rotation, whatever it turns. Gains, norms and clamps that moved in here act on queries
    and keys twice.
    """
    other = x.but(x=x.grid("another x", x.x.shape))
    # multiples of 1/4 up to 4: the sum is exact in every format
    whole = rotary(x)
    return every(
        consistent(rotary(x.but(x=x.x + other.x)), whole + rotary(other)),
        consistent(rotary(x.but(x=2 * x.x)), whole * 2.0),
    )


@law(rotary, STRUCTURE, after=LINEAR)
def rests_at_position_zero(rotary: Any, x: Inputs) -> Verdict:
    """At position 0 nothing is turned.

    p = 0  ⇒  y = x

    Why: positions count from 0. One that counts from 1 is invisible as long as queries and keys agree
    on it, and wrong as soon as one of them comes from elsewhere.
    """
    return equals(rotary(x.but(positions=np.zeros_like(x.positions))), x.x)


@law(rotary, STRUCTURE, after=(*LINEAR, "rests_at_position_zero"))
def keeps_lengths(rotary: Any, x: Inputs) -> Verdict:
    """Every token keeps its length.

    ‖y_t‖ = ‖x_t‖

    Why: a rotation tells where a token stands without making it louder. If lengths change with the
    position, so does the temperature of attention.
    """
    return consistent(squares(rotary(x)), squares(exactly(x.x.astype(x.format.wide))))


@law(rotary, STRUCTURE, after=TURNS)
def can_be_turned_back(rotary: Any, x: Inputs) -> Verdict:
    """Mirrored, turned, mirrored and turned again at the same position, a token is where it was.

    R(p) S R(p) S x = x, where S changes the sign of the second channel of every pair: S R(p) S = R(p)⁻¹

    Why: keys are turned back when a cache is moved to other positions. A transposed table or a sign in
    one half makes every such move an error.
    """
    mirror = np.ones(x.size("D"))
    mirror[pairs(rotary, x)[1]] = -1.0
    first = rotary(x.but(x=x.x * mirror))
    return consistent(after(first, rotary(x.but(x=first.value * mirror))), exactly(x.x.astype(x.format.wide)))


@law(rotary, STRUCTURE, after=(*TURNS, "can_be_turned_back"))
def adds_up(rotary: Any, x: Inputs) -> Verdict:
    """A token that is turned by p and then by q has been turned by p + q.

    R(q) R(p) x = R(p + q) x

    Why: it is the law from which everything else follows. Angles that are rounded, quantised or bent
    keep lengths and still break it.
    """
    more = x.rng("further positions").integers(0, 60, x.positions.shape)
    once = rotary(x)
    twice = after(once, rotary(x.but(x=once.value, positions=more)))
    return consistent(twice, rotary(x.but(positions=x.positions + more)))


@law(rotary, STRUCTURE, cases=cases(fill="normal"), after=GROUP)
def scores_depend_on_the_offset_alone(rotary: Any, x: Inputs) -> Verdict:
    """Moving all tokens by the same number of positions changes no score.

    ⟨R(m + s) q, R(n + s) k⟩ = ⟨R(m) q, R(n) k⟩ for s = 1, 7, 1000 and 100 000, in every dtype

    Why: this is what the encoding is for. Tables that are too short, clamped or kept in few bits break
    it far out, where no short test looks.

    Source: Su et al. 2021, section 3.2
    """
    if not x.size("T"):
        return vacuous()
    keys = x.but(x=x.grid("keys", x.x.shape))

    def scores(shift: int) -> Any:
        positions = x.positions + shift
        return products(rotary(x.but(positions=positions)), rotary(keys.but(positions=positions)))

    near = scores(0)
    return every(*(consistent(near, scores(shift)) for shift in SHIFTS))
