"""Kinship: which lessons are broken by just the same laws, read from what the kill matrix found."""

from __future__ import annotations

import json
from pathlib import Path

STORE = Path(__file__).parent / "kills.json"


def relatives(subject: str, first: set[str]) -> list[str]:
    """The lessons that are caught first by exactly these laws."""
    rows = json.loads(STORE.read_text()).get(subject, {}) if STORE.exists() and first else {}
    return [lesson for lesson, laws in rows.items() if set(laws) == first]
