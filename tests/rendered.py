"""Slack's blocks and Teams' cards as HTML, near enough to how those show them to be looked at. For pictures only."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from typing import Any

Json = Mapping[str, Any]

_SLACK = {
    "light": ("#ffffff", "#1d1c1d", "#616061", "#f8f8f8", "#c01343", "#1264a3", "#dddddd"),
    "dark": ("#1a1d21", "#d1d2d3", "#9a9b9e", "#232529", "#e8912d", "#1d9bd1", "#35373b"),
}


def slack(posts: Iterable[tuple[Json, str]], mode: str) -> str:
    """Posts of a bot, one below the other, each with a picture's address in its thread or none."""
    ground, ink, soft, code, mark, link, edge = _SLACK[mode]
    style = f"""body{{margin:0;padding:14px 16px;background:{ground};color:{ink};font:15px/1.46 Lato,Helvetica,Arial}}
.post{{display:flex;gap:9px;margin-bottom:26px}}.face{{width:36px;height:36px;border-radius:6px;background:#4a154b;
color:#fff;flex:none;text-align:center;line-height:36px;font-weight:700}}.who{{font-weight:900}}
.who span{{font-weight:400;font-size:12px;color:{soft}}}.in{{min-width:0;overflow-wrap:anywhere}}
h2{{font-size:18px;line-height:1.33;margin:8px 0 4px}}.section{{margin:4px 0 8px;white-space:pre-wrap}}
.fields{{display:grid;grid-template-columns:1fr 1fr;gap:8px;margin:6px 0}}
.context{{font-size:13px;color:{soft};margin:6px 0;white-space:pre-wrap}}code{{font:12px Menlo,Consolas,monospace;
color:{mark};background:{code};border:1px solid {edge};border-radius:3px;padding:1px 3px}}a{{color:{link}}}
img{{max-width:100%;border-radius:8px;margin-top:8px}}.thread{{border-left:3px solid {edge};padding-left:12px;
margin-top:8px;font-size:13px;color:{soft}}}"""
    shown = "".join(_post(payload, picture) for payload, picture in posts)
    return f"<!doctype html><meta charset=utf-8><style>{style}</style><body>{shown}"


def _post(payload: Json, picture: str) -> str:
    inside = "".join(map(_block, payload.get("blocks", []))) or _section(payload)
    thread = f'<div class="thread">Thread<br><img src="{picture}"></div>' if picture else ""
    who = '<div class="who">budgetd <span>APP  2:06 PM</span></div>'
    return f'<div class="post"><div class="face">$</div><div class="in">{who}{inside}{thread}</div></div>'


def _section(payload: Json) -> str:
    return f'<div class="section">{_mrkdwn(payload["text"])}</div>'


def _block(block: Json) -> str:
    kind = block["type"]
    if kind == "header":
        return f"<h2>{_slack_text(block['text'])}</h2>"
    if kind == "context":
        return f'<div class="context">{" ".join(map(_slack_text, block["elements"]))}</div>'
    text = f'<div class="section">{_slack_text(block["text"])}</div>' if "text" in block else ""
    fields = "".join(f"<div>{_slack_text(each)}</div>" for each in block.get("fields", []))
    return text + (f'<div class="fields">{fields}</div>' if fields else "")


def _slack_text(text: Json) -> str:
    shown: str = text["text"]
    return html.escape(shown) if text["type"] == "plain_text" else _mrkdwn(shown)


def _mrkdwn(text: str) -> str:
    """Links, code, bold; the rest is not used by budgetd. What is escaped is so already."""
    links = re.sub(r"<([^|>]+)\|([^>]+)>", r'<a href="\1">\2</a>', text)
    parts = re.split(r"(`[^`\n]+`)", links)
    return "".join(
        f"<code>{part[1:-1]}</code>" if part.startswith("`") else re.sub(r"\*([^*\n]+)\*", r"<b>\1</b>", part)
        for part in parts
    ).replace("\n", "<br>")


_TEAMS = {
    "light": ("#f5f5f5", "#ffffff", "#242424", "#616161", "#5b5fc7", "#e0e0e0"),
    "dark": ("#1f1f1f", "#292929", "#ffffff", "#adadad", "#7f85f5", "#3d3d3d"),
}
_STYLES = {
    "light": {"attention": "#fcf4f6", "warning": "#fbf6d9", "good": "#e7f2da", "accent": "#c7def9"},
    "dark": {"attention": "#3e1f25", "warning": "#463100", "good": "#1e3317", "accent": "#1b3a57"},
}
_COLOURS = {
    "light": {"Attention": "#c4314b", "Warning": "#835c00", "Good": "#13a10e", "Accent": "#5b5fc7"},
    "dark": {"Attention": "#f9526b", "Warning": "#ffaa44", "Good": "#92c353", "Accent": "#7f85f5"},
}
_SIZES = {"Small": 12, "Default": 14, "Medium": 17, "Large": 20, "ExtraLarge": 26}


def teams(card: Json, mode: str) -> str:
    """A card in a channel."""
    page, ground, ink, soft, link, edge = _TEAMS[mode]
    style = f"""body{{margin:0;padding:16px;background:{page};color:{ink};font:14px/1.43 'Segoe UI',Arial,sans-serif}}
.card{{background:{ground};border:1px solid {edge};border-radius:8px;padding:12px 16px;overflow-wrap:anywhere}}
.block{{margin-top:8px}}.small{{margin-top:4px}}.head{{margin:-12px -16px 0;padding:12px 16px}}
.row{{display:flex;gap:12px;margin-top:4px}}.row>:first-child{{flex:1;min-width:0}}.row .block{{margin:0}}
.soft{{color:{soft}}}.button{{display:inline-block;border:1px solid {edge};border-radius:4px;padding:5px 14px;
margin:12px 8px 0 0;font-weight:600;color:{ink}}}a{{color:{link}}}"""
    inside = "".join(_element(each, mode) for each in card["body"])
    buttons = "".join(f'<span class="button">{html.escape(each["title"])}</span>' for each in card.get("actions", []))
    body = f'<div class="card">{inside}<div>{buttons}</div></div>'
    return f"<!doctype html><meta charset=utf-8><style>{style}</style><body>{body}"


def _element(element: Json, mode: str) -> str:
    kind = element["type"]
    if kind == "Container":
        inside = "".join(_element(each, mode) for each in element["items"])
        return f'<div class="head" style="background:{_STYLES[mode][element["style"]]}">{inside}</div>'
    if kind == "ColumnSet":
        columns = ("".join(_element(each, mode) for each in column["items"]) for column in element["columns"])
        return f'<div class="row">{"".join(f"<div>{column}</div>" for column in columns)}</div>'
    space = "small" if element.get("spacing") == "Small" else "block"
    runs = "".join(_run(run, mode) for run in element["inlines"])
    return f'<div class="{space}">{runs}</div>'


def _run(run: Json, mode: str) -> str:
    look = f"font-size:{_SIZES[run.get('size', 'Default')]}px;"
    look += "font-weight:600;" if run.get("weight") == "Bolder" else ""
    look += "font-family:Consolas,monospace;" if run.get("fontType") == "Monospace" else ""
    look += f"color:{_COLOURS[mode][run['color']]};" if "color" in run else ""
    soft = ' class="soft"' if run.get("isSubtle") else ""
    return f'<span{soft} style="white-space:pre-wrap;{look}">{html.escape(run["text"])}</span>'
