"""JUnit XML for CI: one test case a check, totals counted from the same list."""

from typing import Any
from xml.etree import ElementTree as ET

from mm_lora.core.outcomes import Outcome
from mm_lora.core.record import Check
from mm_lora.core.report import Report
from mm_lora.report.view import View, why

_ELEMENT = {
    Outcome.VOID: "error",
    Outcome.ERROR: "error",
    Outcome.SKIP: "skipped",
    Outcome.KNOWN_DEFECT: "skipped",
}


def render(view: View) -> str:
    """The JUnit document of a run: a failure is what makes the run exit with 1.

    So is a defect that is fixed upstream and whose entry is stale, and with --strict a known one,
    which else counts as skipped, with its id as message.
    """
    report = view.report
    checks = report.checks
    kinds = [_kind(report, check) for check in checks]
    suite = ET.Element(
        "testsuite",
        name="mm-lora",
        tests=str(len(checks)),
        failures=str(kinds.count("failure")),
        errors=str(kinds.count("error")),
        skipped=str(kinds.count("skipped")),
        time=str(report.duration_s),
        timestamp=report.started,
    )
    for check, kind in zip(checks, kinds, strict=True):
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"mm-lora.{check.group}",
            name=check.id,
            time=str(check.duration_s),
        )
        if kind:
            reason = _xml_safe(why(check))
            element = ET.SubElement(case, kind, message=reason)
            element.text = _xml_safe(
                f"expected: {check.expected}\nobserved: {check.observed}\nrepeat: {check.repeat}"
            )
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _kind(report: Report, check: Check) -> str:
    return "failure" if report.fails(check) else _ELEMENT.get(check.outcome, "")


def _xml_safe(text: Any) -> str:
    """Answers may hold any character; XML 1.0 allows no control characters but tab and newline."""
    return "".join(c if c in "\t\n" or ord(c) >= 0x20 else "\ufffd" for c in str(text))
