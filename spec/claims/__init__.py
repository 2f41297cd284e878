"""What four articles say about recurrence and attention, each sentence with the experiment that decides it."""

from __future__ import annotations

ARTICLES = {
    "S0": "Limitations of RNN/LSTM",
    "S1": "RNN Limitations and the Need for Attention",
    "S2": "Why transformers replaced RNNs",
    "S3": "Limitations of RNNs and the Transformer architecture",
}
SECTIONS = {
    "A": "One step after the other, and parallelism",
    "B": "Memory of a fixed size",
    "C": "Gradients",
    "D": "LSTM and GRU",
    "E": "Attention",
    "F": "Cost",
    "G": "Order and position",
    "H": "Encoder and embeddings",
    "I": "History",
}
