"""How well redaction finds what was planted, and what it takes that is none.

    python -m benchmarks.redaction              the table, of the half of the texts that no rule was made on
    python -m benchmarks.redaction --docs       writes it into docs/redaction.md
    python -m benchmarks.redaction --tuned      what goes wrong in the other half: for better rules

SHADOWLANE_RECORDED_MODELS names a folder of real prompts and answers, of which is told what is taken.
"""

import sys
from pathlib import Path

from benchmarks.redaction.corpus import REPORTED, TUNED, negatives, positives
from benchmarks.redaction.measure import RECORDED, changed, of_real_texts, recall

PAGE = Path(__file__).parents[2] / "docs" / "redaction.md"
BEGIN, END = "<!-- python -m benchmarks.redaction --docs -->\n", "<!-- until here -->\n"


def table() -> str:
    """As it stands in the documentation."""
    found = recall(sample for sample in positives() if sample.half == REPORTED)
    wrong = changed(sample for sample in negatives() if sample.half == REPORTED)
    lines = ["| planted | texts | found | took a word along |", "|---|---|---|---|"]
    lines += [
        f"| {kind} | {each.samples} | {each.share:.1%} | {each.too_much / each.samples:.1%} |"
        for kind, each in found.items()
    ]
    total, hits = sum(each.samples for each in found.values()), sum(each.found for each in found.values())
    lines += [f"| **all** | {total} | {hits / total:.1%} | |", ""]
    lines += ["| looks like it, and is none | texts | changed |", "|---|---|---|"]
    lines += [f"| {kind} | {each.samples} | {each.share:.1%} |" for kind, each in wrong.items()]
    total, hits = sum(each.samples for each in wrong.values()), sum(each.found for each in wrong.values())
    return "\n".join([*lines, f"| **all** | {total} | {hits / total:.1%} |", ""])


def tuned() -> None:
    """What goes wrong in the half that rules are made on."""
    for kind, each in recall(sample for sample in positives() if sample.half == TUNED).items():
        print(f"{kind:40} {each.share:7.1%} of {each.samples}, too much {each.too_much}")
        for example in each.examples[:: max(1, len(each.examples) // 5)][:6]:
            print("      missed:", example[:150].replace("\n", "\\n"))
    for kind, each in changed(sample for sample in negatives() if sample.half == TUNED).items():
        print(f"{kind:40} {each.share:7.1%} of {each.samples} changed")
        for example in each.examples[:: max(1, len(each.examples) // 4)][:5]:
            print("      taken:", example[:200].replace("\n", "\\n"))


def real() -> None:
    """What is taken of real prompts and answers."""
    texts, size, hit, marks, taken = of_real_texts()
    if not texts:
        print(f"no real texts: {RECORDED} names their folder")
        return
    print(
        f"of {texts} real prompts and answers, {size / 1e6:.1f} million characters, {hit} were changed: {dict(marks)}"
    )
    for each in taken:
        print("  ", each)


if __name__ == "__main__":
    if "--tuned" in sys.argv:
        tuned()
    elif "--docs" in sys.argv:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        PAGE.write_text(before + BEGIN + table() + END + rest.split(END)[1], encoding="utf-8")
    else:
        print(table())
    if "--docs" not in sys.argv:
        real()
