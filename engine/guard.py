"""Guard: third-party code may crash, hang or take all memory, and the suite goes on.

The work is done in a forked child that answers requests over a pipe. Before every case and around
every call it leaves a mark in memory that it shares with its parent; so when it dies, or has to be
ended, the parent knows which case of which law did it.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from seqlaws.marks import Marks

GIB = 2**30
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # as malloc.h numbers them
LOOK = 0.05  # seconds between two looks at a silent child
GRACE = 30.0  # seconds that the suite itself may stay silent, on top of what a call may take


@dataclass(frozen=True)
class Limits:
    """What one call may take: seconds, and GiB of memory (None: its part of half of what is free).

    ``at_once`` is the number of children that call at the same time.
    """

    seconds: float = 30.0
    memory: float | None = None
    at_once: int = 1


class Died(Exception):
    """A child ended before it had answered: how, and on which case of which law.

    ``fault`` says that the suite itself failed there, not what it called.
    """

    def __init__(self, how: str, law: str, case: str, fault: bool = False) -> None:
        super().__init__(how)
        self.law, self.case, self.fault = law, case, fault


class Unfit(Exception):
    """Raised in a child that must not go on: later answers of its process would mean nothing."""


class Line:
    """The child's side: what it says to its parent, and the marks that it leaves."""

    def __init__(self, connection: Connection, marks: Marks) -> None:
        self._connection = connection
        self._marks = marks

    def say(self, message: Any) -> None:
        """Send a message, which the parent's `Child.ask` yields."""
        self._connection.send(("said", message))

    def announce(self, law: str, case: str) -> None:
        """Note which case comes next."""
        self._marks.write(law, case)

    def watch(self, entering: bool) -> None:
        """Note that a call begins or ends."""
        self._marks.touch(entering)


class Child:
    """A forked process that answers requests one after another, until it dies or is ended.

    ``answer(request, line)`` runs in the child; it may be a closure, for nothing but requests and
    messages is pickled.
    """

    def __init__(self, answer: Callable[[Any, Line], None], limits: Limits) -> None:
        self._marks = Marks()
        self._seconds = limits.seconds
        self._memory = _half_of_free_memory(limits.at_once) if limits.memory is None else limits.memory
        self._resident = _resident(os.getpid())
        self.connection, theirs = Pipe()
        self.answered = True
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self._alive = False
        try:
            with interrupts_later(), warnings.catch_warnings():
                # Python warns of threads in the parent; those that it may have take no part in the child's work
                warnings.simplefilter("ignore", DeprecationWarning)
                self.pid = os.fork()
                if self.pid == 0:
                    self.connection.close()
                    _serve(answer, theirs, Line(theirs, self._marks), parent)
                self._alive = True
        except KeyboardInterrupt:
            self.end()
            raise
        theirs.close()

    def begin(self, request: Any) -> None:
        """Put a request to the child, which has answered those before."""
        self._marks.write("", "")
        self.answered = False
        with suppress(BrokenPipeError):  # it died between two requests: the next look says how
            self.connection.send(request)

    def word(self, patience: float = LOOK) -> Any:
        """The next thing that the child says, or None: after so many seconds of silence, or once it has answered.

        Raises Died if it has, or had to be ended.
        """
        said = None if self.answered else self._heard(patience)
        if said is None:
            return None
        kind, message = said
        if kind == "said":
            return message
        if kind != "answered":
            self._die(message, fault=kind == "failed")
        self.answered = True
        return None

    def ask(self, request: Any) -> Iterator[Any]:
        """What the child says in answer to a request, as it comes. Raises Died if it does not finish."""
        self.begin(request)
        try:
            while not self.answered:
                message = self.word()
                if message is not None:
                    yield message
        finally:
            if not self.answered:
                self.end()

    def end(self) -> None:
        """End the child and whatever it started, and leave no zombie. Harmless if it has ended."""
        with interrupts_later():
            if self._alive:
                self._alive = False
                self.connection.close()
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(self.pid, 0)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _heard(self, patience: float) -> tuple[str, Any] | None:
        ended = self._has_ended()
        try:
            if self.connection.poll(0 if ended else patience):
                kind, message = self.connection.recv()
                return kind, message
        except (EOFError, OSError):
            self._die(self._status())
        if ended:
            self._die(self._status())
        self._hold_to_limits()
        return None

    def _hold_to_limits(self) -> None:
        inside, silence = self._marks.look()
        if inside and silence > self._seconds:
            self._die(f"a call took longer than {self._seconds:g} s")
        if silence > self._seconds + GRACE:
            self._die(f"nothing was heard for {self._seconds + GRACE:g} s after a call")
        if self._memory and _resident(self.pid) - self._resident > self._memory * GIB:
            self._die(f"a call took more than {self._memory:.3g} GiB of memory")

    def _has_ended(self) -> bool:
        """Whether the process has ended, even if one that it started still holds the pipe."""
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True

    def _status(self) -> str:
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return "the process died"
        if ended is not None and ended.si_code != os.CLD_EXITED:
            return f"the process died of {signal.Signals(ended.si_status).name}"
        return f"the process exited with status {ended.si_status if ended else 0}"

    def _die(self, how: str, fault: bool = False) -> NoReturn:
        law, case = self._marks.read()
        raise Died(how, law, case, fault)


def why_unguarded(device: str) -> str:
    """A line on why a device cannot be used in a forked child, or "" where it can."""
    why = f"{device}: judged in this process, which a crash or a hang ends, since "
    if not hasattr(os, "fork") or sys.platform == "darwin":  # the system libraries of macOS do not survive a fork
        return why + f"{sys.platform} does not fork"

    def answer(request: object, line: Line) -> None:
        import torch

        torch.autograd.backward(torch.zeros((), device=device, requires_grad=True).exp())

    with Child(answer, Limits()) as child:
        try:
            list(child.ask(None))
        except Died:
            return (
                why
                + f"it has used {'CUDA' if device == 'cuda' else 'autograd'} before, which no child can use after it"
            )
    return ""


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Ctrl-C is heard when this is over. Between the fork of a child and the note of it, and between the note of its
    end and that end, nobody else would end it."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard:
            signal.raise_signal(signal.SIGINT)


def _serve(answer: Callable[[Any, Line], None], connection: Connection, line: Line, parent: int) -> NoReturn:
    """The life of a child."""
    status = 1
    try:
        import resource

        os.setpgid(0, 0)  # what it starts ends with it, and Ctrl-C reaches the parent alone
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _end_with(parent)
        _keep_what_is_freed()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()
        while True:
            answer(connection.recv(), line)
            sys.stdout.flush()
            sys.stderr.flush()
            connection.send(("answered", None))
    except EOFError:
        status = 0
    except Unfit as reason:
        connection.send(("unfit", str(reason)))
    except BaseException:
        connection.send(("failed", traceback.format_exc(limit=-4).strip()))
    finally:
        os._exit(status)


def _end_with(parent: int) -> None:
    """Have the kernel end this process with its parent, however that ends (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _keep_what_is_freed() -> None:
    """Have malloc keep what is freed for what is asked for next (glibc).

    Arrays of many pages come and go by the thousand, and the kernel would hand out each page anew.
    """
    if sys.platform == "linux":
        import ctypes

        # from so many bytes on, it asks the kernel, and gives back the rest of its own: the most that it accepts
        with suppress(AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(MMAP_THRESHOLD, 2**25)
            mallopt(TRIM_THRESHOLD, 2**30)


def _resident(pid: int) -> int:
    """The bytes of memory that a process occupies, or 0 where nobody says."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * mmap.PAGESIZE
    except (OSError, IndexError):
        return 0


def _half_of_free_memory(parts: int) -> float | None:
    """One of some equal parts of half of the GiB that are free here, in a container or out of it; two, if that half
    has so much."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 2 * GIB)
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max" where there is no limit
            free = min(free, int(Path(place).read_text()))
    half = max(free / 2 / GIB, 1.0)
    return max(half / parts, min(half, 2.0))
