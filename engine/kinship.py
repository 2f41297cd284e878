"""Kinship: which lessons are broken by just the same laws, as the kill matrix found, and which libraries are known
to break some of them."""

from __future__ import annotations

import json
from pathlib import Path

from seqlaws.implementation import Known
from seqlaws.targets import shipped

STORE = Path(__file__).parent / "kills.json"


def relatives(subject: str, first: set[str]) -> list[str]:
    """The lessons that are caught first by exactly these laws."""
    rows = json.loads(STORE.read_text()).get(subject, {}) if STORE.exists() and first else {}
    return [lesson for lesson, laws in rows.items() if set(laws) == first]


def known_elsewhere(name: str, laws: set[str]) -> list[str]:
    """What implementations that ship are known to break of these laws, a sentence for each fault; nothing for one of
    them itself."""
    if not laws or name in {each.name for each in shipped()}:
        return []
    faults: dict[str, tuple[str, dict[str, None]]] = {}
    for each in shipped():
        for law, entry in each.known.items():
            if law in laws and isinstance(entry, Known) and entry.dtypes:
                faults.setdefault(entry.account, (each.name, {}))[1][law] = None
    return [f"{whose} is known to break {', '.join(broken)}: {account}" for account, (whose, broken) in faults.items()]
