"""Foreign text inside Markdown, made harmless.

Names of runs, layers and parameters are somebody else's words. MLflow renders the note with
Showdown and then cleans the HTML; other readers use CommonMark. Backslash escapes differ
between the two, character references do not: neither takes `&#42;` for markup.
"""

import re
from urllib.parse import quote, urlsplit

from backslide_detector.report.phrases import plain

_MARKUP = re.compile(r"[&<>\"`*_\[\]\\|~#$@{}]|(?<=:)//|(?<=www)\.", re.IGNORECASE)


def escape(text: object) -> str:
    """`text` on one line, with every character that Markdown or HTML could act on replaced.

    Bare addresses are broken up too, so that nothing turns into a link by itself.
    """
    return _MARKUP.sub(lambda m: "".join(f"&#{ord(c)};" for c in m[0]), plain(text))


def link(text: str, url: str) -> str:
    """`[text](url)`, or the text alone when the address is no web address."""
    safe = address(url)
    return f"[{escape(text)}]({safe})" if safe else escape(text)


def address(url: str) -> str | None:
    """`url` with everything but ordinary address characters encoded; None unless http(s)."""
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        return None
    if scheme not in {"http", "https"}:
        return None
    return quote(url, safe="/:?#@!$&+,;=%-._~")
