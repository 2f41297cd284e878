"""Implementation: the thing that is judged, as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from seqlaws.catalogue import load_subject
from seqlaws.errors import Misunderstood
from seqlaws.formats import DTYPES
from seqlaws.subject import Claims, Subject

DEVICES = ("cpu", "cuda")
FRAMEWORKS = ("torch", "numpy")


@dataclass(frozen=True)
class Known:
    """A broken law that has been looked into: why, where, and the case that shows it.

    ``case`` is replayed first, so a known fault costs one call and cannot flake. ``dtypes`` and
    ``devices`` say where the fault is (everywhere by default). ``script`` is a short program that
    shows it without this suite, and ``link`` the public report where there is one.
    """

    reason: str
    case: Any = None
    dtypes: tuple[str, ...] = DTYPES
    devices: tuple[str, ...] = DEVICES
    script: str = ""
    link: str = ""

    @property
    def account(self) -> str:
        """The reason, with the public report and the script that shows it where there are any."""
        shown = "; ".join(filter(None, (self.link, self.script)))
        return f"{self.reason} ({shown})" if shown else self.reason


@dataclass(frozen=True)
class Implementation:
    """One implementation of one subject, and what it declares about itself.

    ``call`` has the subject's signature. ``can`` names its capabilities (None: all of them),
    ``dialect`` its conventions where they differ from the subject's defaults, ``paths`` other ways
    to run the same function, and ``known`` the laws it is known to break, each with its reason.
    Raises Misunderstood, with one line that names what is possible, if a name is unknown.
    """

    name: str
    subject: str
    call: Callable[..., Any]
    can: Set[str] | None = None
    dialect: Mapping[str, str] = field(default_factory=dict)
    dtypes: tuple[str, ...] = DTYPES
    devices: tuple[str, ...] = DEVICES
    paths: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    known: Mapping[str, str | Known] = field(default_factory=dict)
    framework: str = "torch"

    def __post_init__(self) -> None:
        complaint = self.definition.complaint(self.call)
        if complaint:
            raise Misunderstood(f"{self.name}: call is a {type(self.call).__name__}, {complaint}")
        if self.framework == "numpy":  # it knows no bfloat16, and no device but the processor
            object.__setattr__(self, "dtypes", tuple(each for each in self.dtypes if each != "bfloat16"))
            object.__setattr__(self, "devices", ("cpu",))
        stated = [entry for entry in self.known.values() if isinstance(entry, Known)]
        for kind, given, possible in (
            ("dtype", self.dtypes, DTYPES),
            ("device", self.devices, DEVICES),
            ("framework", (self.framework,), FRAMEWORKS),
            *(("dtype", entry.dtypes, DTYPES) for entry in stated if entry.dtypes),
            *(("device", entry.devices, DEVICES) for entry in stated if entry.devices),
        ):
            if not given:
                raise Misunderstood(f"{self.name}: names no {kind}; there are: {', '.join(possible)}")
            for name in given:
                if name not in possible:
                    raise Misunderstood(f"{self.name}: unknown {kind} {name!r}; there are: {', '.join(possible)}")
        if not self.definition.tensors:  # there is nothing in it that a device or dtype could change
            object.__setattr__(self, "dtypes", ("float32",))
            object.__setattr__(self, "devices", ("cpu",))
        laws = {law.name for law in self.definition.laws}
        for name in self.known:
            if name not in laws:
                raise Misunderstood(
                    f"{self.name}: known names the unknown law {name!r}; 'seqlaws laws {self.subject}' lists them"
                )
        self.claims  # noqa: B018 - computed here so that an unknown name is reported at once

    @cached_property
    def definition(self) -> Subject:
        """The subject that this implements."""
        return load_subject(self.subject)

    @cached_property
    def claims(self) -> Claims:
        """The declared capabilities and dialect, completed by the subject's defaults."""
        try:
            return self.definition.claims(self.can, self.dialect)
        except Misunderstood as error:
            raise Misunderstood(f"{self.name}: {error}") from None

    def known_at(self, law: str, device: str, dtype: str) -> Known | None:
        """What is known of a law at one device and dtype."""
        entry = self.known.get(law)
        if isinstance(entry, str):
            return Known(entry)
        if entry is not None and device in entry.devices and dtype in entry.dtypes:
            return entry
        return None
