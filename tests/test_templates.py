"""Templates: what they can say, that every one of them ends soon, and that names bring nothing with them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetd.message import BODY_LIMIT, Flavour
from budgetd.samples import samples
from budgetd.templates import FILTERS, MOST_CHARACTERS, TemplateError, template, unknown_fields

DATA = samples()["a step of a cap"]
KINDS = list(samples().values())


def filled(text: str, data: dict[str, Any] = DATA, flavour: Flavour = Flavour.TEXT) -> str:
    return template(text, flavour).fill(data)


def wrong(text: str, data: dict[str, Any] = DATA) -> str:
    with pytest.raises(TemplateError) as caught:
        filled(text, data)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[PROD] {{ title }}", f"[PROD] {DATA['title']}"),
        ("{{ scope.name }}: {{ money.spent | dollars }}", "Research: $4,012.37"),
        ("{{ money.spent_ratio | share }} of {{ money.budget | dollars }}", "80.2% of $5,000.00"),
        ("{{ data_through | day }}, {{ data_through | time }}", "18 Nov 2026, 18 Nov 2026 14:00 UTC"),
        ("{% if money.spent_ratio | number >= 0.8 %}much{% else %}little{% endif %}", "much"),
        ("{{ 'over' if money.remaining | number < 0 else 'below' }}", "below"),
        (
            "{% for c in contributors %}{{ loop.index }} {{ c.model | default('-') }}; {% endfor %}",
            "1 claude-opus-4-8; 2 -;",
        ),
        ("{% for c in contributors[:1] if c.model %}{{ c.amount | dollars }}{% endfor %}", "$2,610.22"),
        ("{{ comparison.against | default('nothing') }}", "nothing"),
        ("{% if comparison %}x{% elif step %}{{ step.reached | share }}{% endif %}", "80%"),
        ("{{ step.skipped | join('; ') }} {{ contributors | length }}", "0.5 2"),
        ("{{ severity | upper }} {{ reason | capitalize | cut(5) }}", "WARNING Step_"),
        ("{{ contributors | first is none }} {{ money['currency'] }}", "no USD"),
        ("{# a remark #}x{% raw %}{{ y }}{% endraw %}", "x{{ y }}"),
        ("\n\n  {% if true %}\n  a\n  {% endif %}\nb\n", "a\nb"),
    ],
)
def test_what_a_template_says(text: str, said: str) -> None:
    assert filled(text) == said


LOOPS = "{% for c in contributors %}"
ENDS = "{% endfor %}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ 9 ** 9 ** 9 }}", "pow is not read here"),
        ("{{ 'x' * 1000000000 }}", "mul is not read here"),
        ("{{ '%1000000000d' % 1 }}", "mod is not read here"),
        ("{{ title ~ title }}", "concat is not read here"),
        ("{{ title.upper() }}", "nothing can be called here"),
        ("{{ range(10) }}", "nothing can be called here"),
        ("{% set x = 1 %}", "{% set %} is not read here"),
        ("{% macro x() %}{% endmacro %}", "{% macro %} is not read here"),
        ("{% include 'x' %}", "{% include %} is not read here"),
        ("{% extends 'x' %}", "{% extends %} is not read here"),
        ("{% for c in contributors recursive %}{% endfor %}", "for is not read here"),
        ("{{ title | center(1000000000) }}", 'there is no filter "center"'),
        ("{{ title | dolars }}", 'there is no filter "dolars"'),
        ("{% if title is even %}{% endif %}", 'there is no test "even"'),
        ("{{ 1e999 }}", "a number is too large"),
        ("{{ (((", "unexpected"),
        ("{% endif %}", "there is no {% endif %} here"),
        ("{% if money %}", "unexpected end of template"),
        ("{{ " + "(" * 1500 + "1" + ")" * 1500 + " }}", "it is nested too deeply"),
        ("x" * (MOST_CHARACTERS + 1), "a template has at most 4,000 characters, this one has 4,001"),
        ("{{a}}" * 700, "it has more than 600 parts"),
        # They show only when it is filled.
        (LOOPS * 12 + "{% if c.amount | dollars == 1 %}{% endif %}" + ENDS * 12, "it takes more than 5,000 steps"),
        (LOOPS * 20 + ENDS * 20, "it takes more than 5,000 steps"),
        (LOOPS * 6 + "{{ title }}" * 9 + ENDS * 6, "it makes more than 3,000 characters"),
        ("{{ money }}", "a group of fields cannot be shown; name one of its fields"),
        ("{{ contributors | join }}", "a group of fields cannot be shown"),
        ("{% for c in title %}x{% endfor %}", "a list is needed here, and this is a str"),
        ("{{ comparison.against }}", 'there is no "against" here; put {% if ... %} around it'),
        ("{{ title.__class__ }}", 'there is no "__class__" here'),
        ("{{ money.keys }}", 'there is no "keys" here'),
        ("{{ contributors[99].model }}", "there is no 99 in that list"),
        ("{{ nothing }}", "'nothing' is undefined"),
        ("{{ title | dollars }}", "InvalidOperation"),
        ("{% if comparison %}x{% endif %}", "it makes no text at all"),
        ("  \n", "it makes no text at all"),
    ],
)
def test_what_is_refused_and_why(text: str, words: str) -> None:
    assert words in wrong(text)


def test_a_mistake_knows_its_line() -> None:
    with pytest.raises(TemplateError) as caught:
        filled("a\nb\n{{ comparison.against }}\n")
    assert caught.value.line == 3
    with pytest.raises(TemplateError) as caught:
        template("a\n{{ title | dolars }}", Flavour.TEXT)
    assert (caught.value.line, caught.value.word, caught.value.choices) == (2, "dolars", FILTERS)


@pytest.mark.parametrize(
    "text",
    [
        LOOPS * 20 + "{% if 1 %}{% endif %}" * 200 + ENDS * 20,
        LOOPS * 4 + "{% if title|upper|lower|upper|lower == title %}{% endif %}" * 40 + ENDS * 4,
        LOOPS * 12 + "{% if " + " or ".join(["title > title"] * 120) + " %}{% endif %}" + ENDS * 12,
        LOOPS * 12 + "{{ title }}" * 10 + ENDS * 12,
    ],
    ids=["ifs", "filters", "comparisons", "output"],
)
def test_the_worst_that_is_allowed_takes_no_time_to_speak_of(text: str) -> None:
    data = {**DATA, "title": "t" * 200, "contributors": DATA["contributors"] * 10}
    began = time.process_time()
    with pytest.raises(TemplateError):
        filled(text, data)
    assert time.process_time() - began < 2  # 10 to 60 ms here


_WORDS = """{{ }} {% %} if endif for in else endfor is not and or money contributors title . [ ] ( ) | dollars share
default c 1 -1 1.5 1e999 'x' : , ~ * ** + / % == < none true loop.index {# #} - set x = recursive raw endraw"""
_PIECES = st.sampled_from([*_WORDS.split(), "\n"])


def _fill_or_refuse(text: str, data: dict[str, Any]) -> str:
    try:
        return filled(text, data, Flavour.SLACK)
    except TemplateError as error:
        return error.message


@given(st.lists(_PIECES, max_size=30).map(" ".join))
@settings(max_examples=400, deadline=None)
def test_whatever_is_written_it_is_filled_or_refused_and_nothing_else_comes_out(text: str) -> None:
    for data in KINDS:
        assert 0 < len(_fill_or_refuse(text, data)) <= BODY_LIMIT
    list(unknown_fields(text, Flavour.SLACK, KINDS))


EVIL = "<!channel> *x* @everyone </td><script>`:fire: https://evil.example/\u202e\r\nBcc: a@b"


@pytest.mark.parametrize("flavour", list(Flavour))
def test_values_bring_no_markup_and_the_operators_own_stays(flavour: Flavour) -> None:
    said = filled("<b>*own*</b> <!here> {{ name }}", {"name": EVIL}, flavour)
    assert said.startswith("<b>*own*</b> <!here> ")
    value = said.removeprefix("<b>*own*</b> <!here> ")
    assert "\n" not in value
    assert "\r" not in value
    assert "\u202e" not in value
    assert "@everyone" not in value
    if flavour is not Flavour.TEXT:
        assert "<" not in value
    if flavour is Flavour.SLACK:
        assert "*" not in value
        assert "://" not in value
        assert ":fire:" not in value


@pytest.mark.parametrize(
    ("text", "word", "meant"),
    [
        ("{{ titel }}", "titel", "title"),
        ("{{ money.spend | dollars }}", "spend", "spent"),
        ("{% if money.spent %}{{ scope.nam }}{% endif %}", "nam", "name"),
        ("{% for c in contributors %}{{ c.modle }}{% endfor %}", "modle", "model"),
        ("{% for c in contributors[:3] %}{{ c.model.x }}{{ loop.indx }}{% endfor %}", "indx", "index"),
        ("{{ c.model }}{% for c in contributors %}{% endfor %}", "c", "id"),
    ],
)
def test_a_field_that_no_message_has_is_found_before_one_comes(text: str, word: str, meant: str) -> None:
    (error,) = unknown_fields(text, Flavour.TEXT, KINDS)
    assert error.word == word
    assert meant in error.choices


def test_fields_that_only_some_messages_have_are_known() -> None:
    text = "{{ comparison.against }}{{ pace.since }}{% for d in scope.dimensions %}{{ d.id }}{% endfor %}"
    assert list(unknown_fields(text, Flavour.TEXT, KINDS)) == []
    assert json.dumps(KINDS)
