"""The references of the recurrent layers, judged like anybody else: in double precision, whatever comes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.implementation import Implementation
from seqlaws.reference import gru as gru_reference
from seqlaws.reference import lstm as lstm_reference
from seqlaws.reference import rnn as rnn_reference


def _cast(value: Any, dtype: Any) -> Any:
    return tuple(_cast(each, dtype) for each in value) if isinstance(value, tuple) else value.astype(dtype)


def _wide(run: Callable[..., Any], options: Mapping[str, str], x: Array, state: Any, w: Any) -> Any:
    weights = SimpleNamespace(**{name: weight.astype(np.float64) for name, weight in vars(w).items()})
    return _cast(run(_cast(x, np.float64), _cast(state, np.float64), weights, **options), x.dtype)


def _implementation(subject: str, name: str, run: Callable[..., Any], **dialect: str) -> Implementation:
    return Implementation(
        name=f"numpy.reference.{name}",
        subject=subject,
        call=partial(_wide, run, dialect),
        can=set(),
        dialect=dialect,
        framework="numpy",
    )


rnn = _implementation("rnn", "rnn", rnn_reference.rnn)
lstm = _implementation("lstm", "lstm", lstm_reference.lstm)
gru = _implementation("gru", "gru", gru_reference.gru)
gru_after = _implementation("gru", "gru.reset_after", gru_reference.gru, reset="after")
