"""The report: what a person reads while laws are judged, and at the end."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from seqlaws.report import Live, closing, show_report, why_nothing_was_judged
from seqlaws.result import Judged, Report, Result
from seqlaws.terminal import Terminal

SDPA = "torch.nn.functional.scaled_dot_product_attention.efficient"
DTYPES = ("float16", "bfloat16", "float32", "float64")
Snapshot = Callable[[str, str], None]


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def result(law: str, status: str = "holds", dtype: str = "float32", **more: object) -> Result:
    return Result(law, "cpu", dtype, status, 1234, 0.25, in_implementation=0.1, in_reference=0.1, **more)  # type: ignore[arg-type]


def judged(name: str, *results: Result) -> Judged:
    return Judged(name, "attention", list(results), seconds=sum(each.seconds for each in results))


def report(*implementations: Judged, **more: object) -> Report:
    return Report(list(implementations), "default", 0, **more)  # type: ignore[arg-type]


def shown(made: Report, planned: int = 0) -> str:
    text = io.StringIO()
    show_report(Terminal(text, interactive=False, coloured=False), made, planned or len(made.results))
    return text.getvalue()


def test_a_green_report(snapshot: Snapshot) -> None:
    nan = "the kernel skips NaN: a NaN row comes out as zeros, as https://example.org/an/issue says at some length"
    laws = [result(f"attention.law_{number}", dtype=dtype) for number in range(3) for dtype in DTYPES]
    text = shown(
        report(
            judged(
                SDPA,
                *laws,
                *[result("attention.shows_nan", "known", dtype, reason=nan) for dtype in DTYPES[:2]],
                *[result("attention.keeps_nan", "known", dtype, reason=nan) for dtype in DTYPES],
                *[result("attention.agrees", "not_claimed", d, reason="lists no paths") for d in DTYPES],
            ),
            judged("mylib.attend", *laws[:4], result("attention.shows_nan", "known", reason=nan)),
            judged("mylib.never", *laws[:1], result("attention.rare", "vacuous")),
            judged("mylib.cuda_only"),
            notes=["mylib.cuda_only: not judged in device cpu, which it does not declare"],
        )
    )
    snapshot("report_green", text)
    assert max(map(len, text.splitlines())) <= 100


def test_a_red_report(snapshot: Snapshot) -> None:
    text = shown(
        report(
            judged(
                "mylib.attend",
                result("attention.first"),
                *[result("attention.sums", "broken", dtype, message="at [0]: got 2") for dtype in DTYPES],
                result("attention.means", "broken", message="at [0]: got 2"),
                *[result(f"attention.law_{n}", "blocked", reason="attention.sums is broken") for n in range(3)],
                result("attention.old", "known_but_holds", reason="issue 7", message="it holds: take it off"),
                result("attention.odd", "error", message="Traceback\n  File x\nKeyError: 'q'"),
            )
        )
    )
    snapshot("report_red", text)


def test_a_fault_that_a_library_is_known_for_is_named() -> None:
    faults = [result("attention.shows_nan", "broken", message="got 0"), result("attention.sums", "broken")]
    text = " ".join(shown(report(judged("mylib.attend", *faults))).split())
    assert (
        "Perhaps inherited: torch.nn.functional.scaled_dot_product_attention is known to break attention.shows_nan: "
        "the fused CPU kernel's running maximum skips NaN: a NaN row comes out as zeros "
        "(https://github.com/pytorch/pytorch/issues/141128; docs/known/sdpa_flash_hides_nan.py)"
    ) in text
    assert text.count("inherited") == 1
    assert "inherited" not in shown(report(judged(SDPA, *faults)))
    assert "inherited" not in shown(report(judged("mylib.attend", faults[1])))


def test_a_fault_is_shown_in_full_once() -> None:
    text = io.StringIO()
    live = Live(Terminal(text, False, False), Terminal(io.StringIO(), False, False))
    mine = judged("mylib.attend")
    for dtype in DTYPES[:2]:
        live.heard(result("attention.sums", "broken", dtype, card="BROKEN  attention.sums\n\n  the card"), mine)
    live.heard(result("attention.old", "known_but_holds", reason="issue 7", message="it holds: take it off"), mine)
    live.heard(result("attention.odd", "error", message="Traceback\nKeyError: 'q'"), mine)
    live.heard(result("attention.fine"), mine)
    assert text.getvalue() == (
        "\nBROKEN  attention.sums\n\n  the card\n"
        "BROKEN  attention.sums   by mylib.attend   [cpu-bfloat16]   also here\n"
        "\nHOLDS AGAIN  attention.old   by mylib.attend   [cpu-float32]\n"
        "\n  it holds: take it off\n  It was listed because: issue 7\n"
        "\nERROR  attention.odd   by mylib.attend   [cpu-float32]\n"
        "\n  The suite itself failed; nothing is said about the implementation.\n  Traceback\n  KeyError: 'q'\n"
    )


def test_progress_shows_on_a_terminal_alone_and_fits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    for stream, lines in ((Screen(), ["░░ 1/40  0 s  torch", "█░░░░░░░░░░░░░░░░░░░ 2/40  0 s"]), (io.StringIO(), [])):
        live = Live(Terminal.of(io.StringIO()), Terminal.of(stream))
        live.expect(40)
        for number in range(2):
            live.heard(result(f"attention.law_{number}"), judged(SDPA))
        live.clear()
        drawn = stream.getvalue().split("\r\x1b[K")[1:]
        assert len(drawn) == (3 if lines else 0) and all(len(line) < 60 for line in drawn)
        assert all(line in text for line, text in zip(lines, drawn, strict=False))


@pytest.mark.parametrize(
    ("variable", "value", "coloured"), [("TERM", "xterm", True), ("TERM", "dumb", False), ("NO_COLOR", "1", False)]
)
def test_colour_where_the_terminal_has_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, coloured: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(variable, value)
    screen = Screen()
    show_report(Terminal.of(screen), report(judged("mylib.attend", result("attention.first"))), 1)
    assert ("\x1b[" in screen.getvalue()) is coloured
    assert "\x1b[" not in shown(report(judged("mylib.attend", result("attention.first"))))


@pytest.mark.parametrize(
    ("statuses", "planned", "interrupted", "sentence"),
    [
        (["holds"] * 3, 3, False, "Nothing is broken: of 3 judgements 3 hold."),
        (["holds", "known", "vacuous"], 3, False, "Nothing is broken: of 3 judgements 1 hold; 1 known, 1 vacuous."),
        (["holds", "broken"], 2, False, "1 law is broken (in 1 of 2 judgements)."),
        (["broken"], 9, False, "Stopped after 1 of 9 judgements. 1 law is broken (in 1 of 1 judgements)."),
        (["holds"], 9, True, "Interrupted after 1 of 9 judgements. Nothing is broken: of 1 judgements 1 hold."),
        (["error", "known_but_holds"], 2, False,
         "1 known fault is gone (in 1 of 2 judgements), 1 law could not be judged (in 1 of 2 judgements)."),
    ],
)  # fmt: skip
def test_the_closing_sentence(statuses: list[str], planned: int, interrupted: bool, sentence: str) -> None:
    results = [result(f"attention.law_{number}", status) for number, status in enumerate(statuses)]
    assert closing(report(judged("mylib.attend", *results), interrupted=interrupted), planned) == sentence


def test_nothing_judged_has_a_reason() -> None:
    assert why_nothing_was_judged(report(judged("mylib.attend", result("attention.first")))) == ""
    unclaimed = [result(f"attention.law_{n}", "not_claimed", reason="lists no paths") for n in range(2)]
    never = judged("mylib.attend", *unclaimed, result("attention.rare", "vacuous"))
    assert why_nothing_was_judged(report(never, notes=["cuda: not judged, no such device is present"])) == (
        "no law was judged: cuda: not judged, no such device is present; lists no paths; "
        "no drawn case reached what the law is about"
    )
