"""The figures of `metarl figure` as pictures inside the page."""

import ast
import base64
from pathlib import Path

from metarl import figures
from metarl.errors import InputError
from metarl.report_page.markup import element, enclose

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS_PER_PIXEL = 2  # of the picture to one of the page: sharp on fine screens, and legible


def path(folder: Path, drawing: figures.Drawing) -> Path:
    return Path(folder) / f"{drawing.name}.png"


def show(folder: Path, drawing: figures.Drawing) -> str:
    """A picture with its label and caption beneath.

    Raises:
      InputError: the file is no PNG.
    """
    data = path(folder, drawing).read_bytes()
    if not data.startswith(SIGNATURE) or len(data) < 24:
        raise InputError(f"{path(folder, drawing)} is no PNG; draw it again with metarl figure")
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    text = caption(drawing.name)
    attributes = {
        "src": f"data:image/png;base64,{base64.b64encode(data).decode()}",
        "alt": f"{drawing.label}. {text}",
        "width": str(width // PIXELS_PER_PIXEL),
        "height": str(height // PIXELS_PER_PIXEL),
    }
    picture = enclose("img", "", **attributes).removesuffix("</img>")
    words = element("strong", f"{drawing.label}.") + " " + element("span", text)
    return enclose("figure", picture + enclose("figcaption", words), id=f"figure-{drawing.name}")


def caption(name: str) -> str:
    """The first paragraph of the docstring of a figure's module, which is not imported."""
    module = ast.parse(Path(figures.__file__).with_name(f"{name}.py").read_text())
    paragraph = (ast.get_docstring(module) or "").split("\n\n")[0]
    return " ".join(paragraph.replace("`", "").split())


def film(file: Path) -> str:
    """An animated picture of `metarl film`, named after its environment; empty: there is none.

    Raises:
      InputError: the file is no WebP.
    """
    data = Path(file).read_bytes()
    if not data:
        return ""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise InputError(f"{file} is no WebP; make it again with metarl film")
    words = f"{Path(file).stem}: a held-out task a row, before adaptation and after one inner step."
    source = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
    picture = enclose("img", "", src=source, alt=words).removesuffix("</img>")
    return enclose("figure", picture + element("figcaption", words), class_="film")
