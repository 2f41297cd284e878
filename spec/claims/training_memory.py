"""What a recurrent network must keep in order to learn, and what it gets wrong if it keeps less."""

from __future__ import annotations

from functools import cache
from math import isqrt

import torch
from torch import Tensor, nn
from torch.func import jacrev
from torch.utils.checkpoint import checkpoint

from seqlaws.claim import Evidence, HoldsIf, claim
from seqlaws.instruments import Figure, Model, Series, streaming_state, transparent, work
from seqlaws.instruments.memory import LENGTHS, saved_bytes
from seqlaws.instruments.polynomial import in_t

WIDTH = 64
SQUARES = (64, 256, 1024, 4096)
WINDOWS = (1, 2, 5, 10, 20, 40)


@cache
def states_kept(length: int, segment: int) -> int:
    """Bytes that autograd keeps of a recurrence besides inputs and parameters; inside a segment nothing.

    What a segment forgot is computed again when the backward pass comes to it. With segments of length 1
    every step is kept as it is.
    """
    cell, x = nn.RNNCell(WIDTH, WIDTH), torch.randn(length, 1, WIDTH)
    given = {each.untyped_storage().data_ptr() for each in (x, *cell.parameters())}
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage  # held, so that its place is not given to another
        return tensor

    def run(h: Tensor, tokens: Tensor) -> Tensor:
        for token in tokens:
            h = cell(token, h)
        return h

    h = torch.zeros(1, WIDTH, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        for tokens in x.chunk(length // segment):
            h = run(h, tokens) if segment == 1 else checkpoint(run, h, tokens, use_reentrant=True)
        return sum(storage.nbytes() for place, storage in storages.items() if place not in given)


@claim(
    "F19",
    HoldsIf("it is trained and every step is kept; a stream takes O(1) memory, checkpoints O(√T)"),
    articles="S2",
    source="Chen et al. 2016; MacKay et al. 2018",
)
def recurrence_takes_linear_time_and_memory(see: Evidence) -> None:
    """Recurrent networks take time and memory that grow in proportion to the length.

    operations 16·T·d²;  training keeps a·T + b bytes;  inference 2·d numbers;  √T segments of √T steps
    keep √T states and one segment

    Rule: the degree in T of the counted operations and of the bytes that autograd keeps; the least state
    of the stream; and with checkpoints twice the bytes for four times the length, exactly.
    """
    see.supports("LSTM: operations", work(nn.LSTM(8, 8)).order, equals="O(T)")
    with transparent():  # a fused kernel keeps a workspace of its own besides
        bytes_at = {length: saved_bytes(Model.of(nn.LSTM(8, 8)), length) for length in LENGTHS}
    found = in_t(bytes_at)
    see.supports("LSTM: bytes kept for backward", found.order if found else "", equals="O(T)")
    see.refutes("LSTM: growth of the state of a stream", streaming_state(nn.LSTM(8, 8)).growth.order, equals="O(1)")
    for short in SQUARES[:-1]:
        root = isqrt(short)
        one, four = states_kept(short, root), states_kept(4 * short, 2 * root)
        see.refutes(f"checkpoints, T = {4 * short:,}: bytes, twice those for {short:,}", four, equals=2 * one)
    every = [states_kept(length, 1) for length in SQUARES]
    segments = [states_kept(length, isqrt(length)) for length in SQUARES]
    see.refutes("checkpoints, T = 4,096: bytes, and a tenth of all", segments[-1], below=every[-1] // 10)
    see.picture(
        Figure(
            f"Bytes kept by a recurrent network of width {WIDTH}: slopes 1, ½ and 0",
            "sequence length T",
            "bytes",
            (
                Series("training, every step", SQUARES, every),
                Series("training, √T checkpoints", SQUARES, segments),
                Series("inference, the state", SQUARES, [4 * WIDTH] * len(SQUARES)),
            ),
            x_log=True,
            y_log=True,
        )
    )


@claim(
    "F16",
    HoldsIf("it keeps n·|θ| numbers beside its state, or accepts a biased gradient"),
    articles="S2",
    source="Williams & Zipser 1989",
)
def recurrence_learns_online(see: Evidence) -> None:
    """A recurrent network learns naturally from a stream, one example after the other.

    S_t = J_t·S_(t−1) + ∂h_t/∂θ with S = dh/dθ of n·|θ| numbers;  dL/dθ = Σ_t ∂L/∂h_t·S_t;
    cut after k steps, the gradient loses all paths that cross a cut

    Rule: on integers, with squares for activations, nothing is rounded: real-time recurrent learning and
    backpropagation through time must give the same bits. With tanh and cuts every k of 60 steps the
    gradient is off by more than a thousandth, where rounding is near 10⁻¹⁵.
    """
    weights, x = torch.randint(-1, 2, (3, 6), dtype=torch.float64), torch.randint(-1, 2, (4, 3), dtype=torch.float64)
    forward, backward, kept = online(weights, x), through_time(weights, x), weights.shape[0] * weights.numel()
    see.supports("integers, n = 3, T = 4: both gradients, bit by bit", torch.equal(forward[0], backward), equals=True)
    see.supports("integers, n = 3: numbers carried along, n·|θ|", forward[1], equals=kept)
    errors = truncation_errors()
    for window in (1, 5, 20):
        see.refutes(f"tanh, cut every {window} steps: relative error of the gradient", errors[window], above=1e-3)
    see.picture(
        Figure(
            "Truncated backpropagation is biased",
            "steps between cuts",
            "relative error of the gradient",
            (Series("tanh, n = 16, T = 60", WINDOWS, [errors[window] for window in WINDOWS]),),
            x_log=True,
            y_log=True,
        )
    )


def square_step(weights: Tensor, h: Tensor, token: Tensor) -> Tensor:
    """One step of a recurrence whose activation is the square: of integers it is an integer."""
    return (weights @ torch.cat([h, token])) ** 2


def online(weights: Tensor, x: Tensor) -> tuple[Tensor, int]:
    """The gradient of Σ_t Σ_i h_t by real-time recurrent learning, and how many numbers it carries along."""
    h = torch.zeros(len(weights), dtype=weights.dtype)
    influence, gradient = torch.zeros(len(weights), *weights.shape, dtype=weights.dtype), torch.zeros_like(weights)
    for token in x:
        by_weights, by_state = jacrev(square_step, argnums=(0, 1))(weights, h, token)
        influence = torch.einsum("ij,jkl->ikl", by_state, influence) + by_weights
        h, gradient = square_step(weights, h, token), gradient + influence.sum(0)
    return gradient, influence.numel()


def through_time(weights: Tensor, x: Tensor) -> Tensor:
    """The same by backpropagation through time."""
    learned, total = weights.clone().requires_grad_(), torch.zeros((), dtype=weights.dtype)
    h = torch.zeros(len(weights), dtype=weights.dtype)
    for token in x:
        h = square_step(learned, h, token)
        total = total + h.sum()
    (gradient,) = torch.autograd.grad(total, learned)
    return gradient


def truncation_errors() -> dict[int, float]:
    """The relative error of the gradient of Σ_t ‖h_t‖² if the recurrence is cut every k steps."""
    cell = nn.RNNCell(16, 16, dtype=torch.float64)
    nn.init.orthogonal_(cell.weight_hh)
    x = 0.5 * torch.randn(60, 1, 16, dtype=torch.float64)

    def gradient(window: int) -> Tensor:
        h, total = torch.zeros(1, 16, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for t, token in enumerate(x):
            h = cell(token, h if t % window else h.detach())
            total = total + h.square().sum()
        return torch.cat([each.flatten() for each in torch.autograd.grad(total, list(cell.parameters()))])

    exact = gradient(len(x))
    return {window: float((gradient(window) - exact).norm() / exact.norm()) for window in WINDOWS}
