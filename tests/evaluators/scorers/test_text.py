import unicodedata
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shadowlane.evaluators.scorers.text import exact, fuzzy, length_ratio, normalise, normalised
from tests.evaluators.scorers.answers import ANY_TEXT, answer

AGREEMENT = [exact, normalised, fuzzy, length_ratio]
NEAR = st.tuples(ANY_TEXT, st.sampled_from(["", " ", ".", "!", "A", "a", "ﬁ", "é", "e\u0301"]))


@given(ANY_TEXT, ANY_TEXT)
def test_agreement_is_a_symmetric_number_between_0_and_1(one: str, other: str) -> None:
    for scorer in AGREEMENT:
        value = scorer(None, answer(one), answer(other))
        assert value is not None
        assert 0 <= value <= 1
        assert value == scorer(None, answer(other), answer(one))
        assert scorer(None, answer(one), answer(one)) == 1


@given(ANY_TEXT, NEAR)
@example("x", ("", "X"))
def test_who_agrees_exactly_agrees_in_every_weaker_sense(one: str, near: tuple[str, str]) -> None:
    other = "".join(near) if near[0] else one + near[1]
    stable, candidate = answer(one), answer(other)
    if exact(None, stable, candidate) == 1:
        assert normalised(None, stable, candidate) == 1
    if normalised(None, stable, candidate) == 1:
        assert fuzzy(None, stable, candidate) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", "paris."),
        ("  The\tanswer:\n42 ", "the answer 42"),
        ("**Bold**, `code` and “quotes”", "bold code and quotes"),
        ("don't", "don’t"),
        ("ＡＢＣ！", "abc"),
        ("café", "cafe\u0301"),
        ("ﬁne", "fine"),
        ("STRASSE", "straße"),
        ("- one\n- two", "one two"),
        ("你好。", "你好"),
    ],
)
def test_writings_of_the_same_are_normalised_to_one(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.5", "15"),
        ("1.5", "1 5"),
        ("-3", "3"),
        ("10:30", "1030"),
        ("1/2", "12"),
        ("5%", "5"),
        ("$5", "€5"),
        ("a < b", "a > b"),
        ("", "..."),
        ("?", "!"),
        ("not good, but cheap", "good, but not cheap"),
        ("cafe", "café"),
    ],
)
def test_what_differs_in_meaning_stays_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)
    assert normalised(None, answer(one), answer(other)) == 0


def test_fuzzy_forgives_little_and_minds_the_order() -> None:
    def grade(one: str, other: str) -> float:
        value = fuzzy(None, answer(one), answer(other))
        assert value is not None
        return value

    assert 0.9 < grade("The capital of France is Paris.", "The capital of France is Pariss") < 1
    assert grade("not good, but cheap", "good, but not cheap") < 0.9
    assert grade("abc", "xyz") == 0
    assert grade("", "an answer") == 0


def test_texts_of_any_size_are_graded() -> None:
    marks = "\u0301\u0323" * 100_000
    long = "word " * 100_000
    for one, other in [(marks, marks[1:]), (long, long[::-1]), (marks, long)]:
        for scorer in AGREEMENT:
            value = scorer(None, answer(one), answer(other))
            assert value is not None
            assert 0 <= value <= 1


def test_combining_marks_are_sorted_in_short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    # 200,000 of them in one piece take unicodedata half a minute.
    pieces: list[str] = []
    normalize = unicodedata.normalize

    def spy(form: Literal["NFKC"], text: str) -> str:
        pieces.append(text)
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", spy)
    normalise("e" + "\u0301\u0323" * 10_000)
    assert max(map(len, pieces)) <= 256


@given(st.lists(st.sampled_from(["wörter", "und", "ﬁnden", "你好", "x" * 150]), max_size=60))
def test_pieces_lose_nothing(words: list[str]) -> None:
    assert normalise(" ".join(words)) == " ".join(normalise(word) for word in words)


def test_fuzzy_compares_the_first_8000_characters() -> None:
    head = "abcde" * 1600
    assert fuzzy(None, answer(head + "x" * 500), answer(head + "y" * 500)) == 1
    assert fuzzy(None, answer("x" + head), answer("y" + head)) != 1


def test_without_text_tool_calls_decide() -> None:
    calls = [{"name": "search", "arguments": "{}"}]
    for scorer in AGREEMENT:
        assert scorer(None, answer(tool_calls=calls), answer(tool_calls=calls)) is None
        assert scorer(None, answer(tool_calls=calls), answer()) == 0
        assert scorer(None, answer(), answer(tool_calls=calls)) == 0
        assert scorer(None, answer("hm", tool_calls=calls), answer("hm")) == 1


def test_length_ratio_is_the_shorter_over_the_longer() -> None:
    assert length_ratio(None, answer("ab"), answer("abcdefgh")) == 0.25
    assert length_ratio(None, answer("ab"), answer("")) == 0
