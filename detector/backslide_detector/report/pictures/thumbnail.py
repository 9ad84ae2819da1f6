"""One example, as its user let it be shown."""

from markupsafe import Markup

from backslide_detector.report.pictures import svg

SIDE = 96.0


def thumbnail(content: bytes, said: str) -> Markup:
    """The picture of an example; `said` is its text alternative."""
    return svg.drawing(
        SIDE,
        SIDE,
        said,
        svg.rectangle(0, 0, SIDE, SIDE, "ground"),
        svg.picture(content, (0, 0, SIDE, SIDE)),
        class_="tile",
    )
