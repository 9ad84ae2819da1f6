"""Reads a page strictly and keeps what a security-minded reader asks for."""

from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "input", "hr", "base"}


class Page(HTMLParser):
    """Elements in order with their attributes, all text, and whether tags nest."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.css = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], f"left open: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"attribute twice: {tag} {names}"
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open[-1:] == [tag], f"</{tag}> closes {self._open[-1:]}"
        self._open.pop()

    def handle_data(self, data):
        if self._open[-1:] == ["style"]:
            self.css += data
        else:
            self.text.append(data)

    def names(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    def values(self, attribute: str) -> list[str]:
        return [a[attribute] or "" for _, a in self.elements if attribute in a]

    def attributes(self) -> set[str]:
        return {name for _, attributes in self.elements for name in attributes}

    def said(self) -> str:
        return " ".join(" ".join(self.text).split())
