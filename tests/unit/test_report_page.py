"""The page of a run: whole, safe, bound together, and true to the numbers that it draws."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from big_report import WRONG, big_report

from mm_lora.core.outcomes import Outcome
from mm_lora.core.record import Check
from mm_lora.core.report import Report
from mm_lora.core.selection import GROUPS
from mm_lora.core.table import Tables
from mm_lora.report import claims, evidence, html, markdown
from mm_lora.report.evidence import ServerSteps
from mm_lora.report.pictures.batches import batch_timelines
from mm_lora.report.pictures.flow import model_flows
from mm_lora.report.pictures.number_line import number_line
from mm_lora.report.pictures.ribbon import ribbons
from mm_lora.report.pictures.timeline import timeline
from mm_lora.report.text import clock, lines, tokens
from mm_lora.report.view import View
from mm_lora.serving.probe_records import Request, Step

VOID = {"meta", "link", "br", "input", "rect", "line", "circle"}
RUN = big_report(40, failing=4)


class Page(HTMLParser):
    """What a page has: ids, links, and tags that were never closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [found[key] or "" for key in ("href", "src") if key in found]
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"{tag} at {self.getpos()}"


def page(report: Report) -> Page:
    return Page(html.render(View(report=report)))


def test_every_check_has_one_anchor_and_every_link_leads_somewhere_in_the_file() -> None:
    found = page(RUN)
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert {check.id for check in RUN.checks} <= set(found.ids)
    inside = {link.removeprefix("#") for link in found.links if link != "data:,"}
    assert {link for link in inside if not link.startswith("?show=")} <= set(found.ids)


def test_what_a_server_says_cannot_become_a_part_of_the_page() -> None:
    bad = "</script><script>alert(1)</script><img src=//x>"
    first = replace(RUN.checks[-1], reason=bad, title=bad, observed=bad, repeat=bad)
    report = replace(RUN, checks=(*RUN.checks[:-1], first), note=bad)
    assert page(report).scripts == page(RUN).scripts == 1
    assert "<img" not in html.render(View(report=report))
    assert "<script" not in markdown.render(View(report=report))


def test_a_run_that_judged_nothing_has_a_page() -> None:
    empty = replace(
        RUN, checks=(), defects=(), tables=Tables(), timings=(), outcome="empty", finished=False
    )
    assert page(empty).open == []
    assert "Nothing was judged" in View(report=empty).verdict


def test_failures_that_differ_in_numbers_alone_have_one_cause() -> None:
    view = View(report=RUN)
    (cause,) = view.causes
    assert len(cause.checks) == 4
    assert "of 37 checks of scout, 4 failed" in view.verdict
    alone = View(report=replace(RUN, checks=RUN.checks[1:3], vllm={}))
    assert alone.verdict == "All 2 checks of scout passed; no vLLM was asked."
    assert view.repeat_prefix == "mm-lora verify --profile cpu --only "
    assert any("lifecycle" in line for line in view.not_proved)


def test_known_failures_are_no_part_of_what_a_group_proves() -> None:
    known = replace(RUN.checks[1], outcome=Outcome.KNOWN_DEFECT, error=3.0, effect=1e-9)
    (proof,) = View(report=replace(RUN, checks=(RUN.checks[8], known))).proofs
    assert (proof.passed, proof.judged, proof.outcome) == (1, 2, "known-defect")
    assert (proof.error, proof.power) == (1e-6, 1000)


@pytest.mark.parametrize("failing", [0, 4, 40])
def test_markdown_is_one_screen_whatever_the_run(failing: int) -> None:
    report = big_report(40, failing=failing)
    words = ("one", "two", "three", "four", "five")
    many = [replace(c, reason=words[at % 5] * (at // 5 + 1)) for at, c in enumerate(report.checks)]
    found = replace(
        report,
        checks=tuple(many),
        defects=report.defects * 9,
        note="n",
        limits=words * 3,
        tables=Tables({"token-flow": report.tables["t"]}),
    )
    written = markdown.render(View(report=found))
    assert len(written.splitlines()) < markdown.MOST_LINES
    assert written.count("<details>") == written.count("</details>")


def numbers(error: float, **more: float | None) -> Check:
    return replace(RUN.checks[1], error=error, **more)  # type: ignore[arg-type]


def test_the_number_line_has_a_failure_beyond_the_tolerance() -> None:
    for error, within in ((1e-6, True), (0.5, False), (float("inf"), False)):
        found = number_line(numbers(error))
        assert found is not None
        assert found.effect is not None
        assert found.within is within
        assert (found.error < found.tolerance < found.effect) is within
        assert 0 <= found.error <= 100
    assert number_line(numbers(0.5, tolerance=None)) is None


def test_a_ribbon_shows_where_the_mapping_leaves_the_rows() -> None:
    (one,) = ribbons([WRONG])
    assert [(run.rows, run.colour) for run in one.expected] == [(200, 1), (100, 0)]
    assert one.mapped[1].x < one.expected[1].x
    assert one.words == "300 rows seen, 299 mapped, 300 expected"


def test_pictures_are_cut_as_the_family_cuts_them() -> None:
    (scout,) = model_flows(["scout", "/a/users/model"], None)
    one, few, many = scout.pictures
    assert [len(picture.cut) for picture in (one, few, many)] == [1, 3, 7]
    rows = {bar.name: (bar.role, bar.rows) for bar in many.bars}
    assert rows["encoder rows"] == ("tower", 4039)
    assert rows["prompt tokens"] == ("language", 1017)
    assert max(bar.width for picture in scout.pictures for bar in picture.bars) == 100


def step(number: int, *adapters: str | None, tokens: int = 1) -> Step:
    asked = tuple(Request(f"r-{name}", name, tokens, ()) for name in adapters)
    return Step("w", number, number, "language", asked, ())


def test_batches_are_drawn_where_tenants_meet() -> None:
    alone = [step(n, "a") for n in range(40)]
    met = [step(40, "a", None, tokens=9), step(41, "a", None, "b")]
    (found,) = batch_timelines([ServerSteps("s", (*alone, *met)), ServerSteps("t", tuple(alone))])
    assert (found.mixed, found.encoded, found.steps) == (2, 0, [40, 41])
    assert [(one.name, len(one.cells)) for one in found.tenants] == [
        ("a", 2),
        ("base", 2),
        ("b", 1),
    ]


def test_steps_are_read_from_the_runs_folder(tmp_path: Path) -> None:
    place = tmp_path / "servers" / "1-scout" / "probe"
    place.mkdir(parents=True)
    worker = {"rank": 0, "slots": 1, "compiled": False, "prefixes": {}, "modules": []}
    head = json.dumps({**worker, "unwrapped": [], "missing": []})
    (place / "probe-1.modules.json").write_text(head, encoding="utf-8")
    asked = {"id": "r", "adapter": None, "tokens": 3, "images": []}
    line = {"seq": 1, "step": 7, "kind": "language", "requests": [asked], "calls": [], "mapped": {}}
    (place / "probe-1.steps.0.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    server = replace(RUN.servers[0], log="servers/1-scout/server.log")
    (found,) = evidence.read(tmp_path, replace(RUN, servers=(server,)))
    assert [one.number for one in found.steps] == [7]
    (place / "probe-1.modules.json").write_text("{}", encoding="utf-8")  # another mm-lora's
    assert evidence.read(tmp_path, replace(RUN, servers=(server,))) == ()


def test_the_time_line_has_every_check_and_stays_inside() -> None:
    found = timeline(RUN)
    assert found is not None
    checks, server = found.lanes
    assert len(checks.spans) == len(RUN.checks)
    assert [span.kind for span in server.spans] == ["start", "serve"]
    assert all(span.x + span.width <= 100.2 for lane in found.lanes for span in lane.spans)
    merged = timeline(replace(RUN, timings=()))
    assert merged is not None
    assert not merged.lanes


def test_values_are_written_for_people() -> None:
    assert [clock(one) for one in (4.25, 144, 3900)] == ["4.2 s", "2 min 24 s", "1 h 5 min"]
    assert lines([]) == lines(None) == "nothing"
    assert lines(["a", "b"]) == "a\nb"
    assert [one.worst for one in tokens([1.0, 2.0], ["text", [1.0, 2.5]][1])] == [False, True]
    assert tokens(["x", [1.0]], ["y", [2.0]])[0].apart == 1
    assert tokens([1.0], [1.0]) == tokens("a", 3) == []


def test_nothing_on_the_page_asks_for_anything() -> None:
    text = html.render(View(report=RUN))
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|<iframe|<object", text)
    assert "default-src 'none'" in text


def test_every_group_says_what_it_proves() -> None:
    assert set(claims.CLAIMS) == set(GROUPS)
