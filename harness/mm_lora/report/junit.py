"""JUnit XML for CI: one test case a check, totals counted from the same list."""

from typing import Any
from xml.etree import ElementTree as ET

_ELEMENT = {"fail": "failure", "void": "error", "error": "error", "skip": "skipped"}


def render(report: dict[str, Any]) -> str:
    """The JUnit document of a report. A known defect counts as skipped, with its id as message."""
    checks = report["checks"]
    kinds = [_kind(check) for check in checks]
    suite = ET.Element(
        "testsuite",
        name="mm-lora",
        tests=str(len(checks)),
        failures=str(kinds.count("failure")),
        errors=str(kinds.count("error")),
        skipped=str(kinds.count("skipped")),
        time=str(report["duration_s"]),
        timestamp=report["started"],
    )
    for check, kind in zip(checks, kinds, strict=True):
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"mm-lora.{check['group']}",
            name=check["id"],
            time=str(check["duration_s"]),
        )
        if kind:
            reason = _xml_safe(check["reason"] or check["defect"] or check["outcome"])
            element = ET.SubElement(case, kind, message=reason)
            element.text = _xml_safe(
                f"expected: {check['expected']}\nobserved: {check['observed']}\n"
                f"repeat: {check['repeat']}"
            )
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _kind(check: dict[str, Any]) -> str:
    if check["outcome"] == "known-defect":
        return "skipped"
    return _ELEMENT.get(check["outcome"], "")


def _xml_safe(text: Any) -> str:
    """Answers may hold any character; XML 1.0 allows no control characters but tab and newline."""
    return "".join(c if c in "\t\n" or ord(c) >= 0x20 else "\ufffd" for c in str(text))
