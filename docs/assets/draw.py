"""Draw the architecture for README.md, in colours for light and for dark pages: ``python docs/assets/draw.py``."""

from pathlib import Path

FOLDER = Path(__file__).parent
KINDS = ("text", "line", "ear", "brain", "mouth", "end")
INKS = {
    "light": dict(zip(KINDS, ("#1f2328", "#59636e", "#dbeafe", "#fef3c7", "#dcfce7", "#f3f4f6"), strict=True)),
    "dark": dict(zip(KINDS, ("#f0f6fc", "#9198a1", "#1e3a5f", "#4d3b0b", "#14432a", "#30363d"), strict=True)),
}
BOXES = (  # left, top, width, height, kind, title, what it says below
    (10, 40, 120, 60, "end", "sound", "16 kHz"),
    (10, 240, 120, 60, "end", "text", "messages"),
    (190, 10, 210, 60, "ear", "semantic tokenizer", "codes, 12.5 per second"),
    (190, 90, 210, 60, "ear", "acoustic encoder", "vectors, 12.5 per second"),
    (190, 240, 210, 60, "ear", "text tokenizer", "ids"),
    (460, 90, 170, 130, "brain", "audio LLM", "shared layers"),
    (690, 40, 160, 60, "brain", "audio layers", "codes, 6 steps later"),
    (690, 210, 160, 60, "brain", "text layers", "ids"),
    (910, 10, 190, 60, "mouth", "flow matching", "mel, chunk by chunk"),
    (910, 90, 190, 60, "mouth", "vocoder", "waveform"),
    (1160, 90, 110, 60, "end", "speech", "24 kHz"),
    (1160, 210, 110, 60, "end", "text", "of the reply"),
)
ARROWS = (
    ((130, 60), (190, 40)),
    ((130, 80), (190, 120)),
    ((130, 270), (190, 270)),
    ((400, 40), (460, 110)),
    ((400, 120), (460, 145)),
    ((400, 270), (460, 200)),
    ((630, 125), (690, 70)),
    ((630, 185), (690, 240)),
    ((850, 60), (910, 40)),
    ((1005, 70), (1005, 90)),
    ((1100, 120), (1160, 120)),
    ((850, 240), (1160, 240)),
)


def picture(inks: dict[str, str]) -> str:
    """Return the picture as SVG."""
    tip = f'<path d="M0 0 8 4 0 8z" fill="{inks["line"]}"/>'
    marker = (
        f'<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">{tip}'
    )
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1280 310" role="img" font-family="sans-serif">',
        "<title>From sound and text through tokenizers, the audio LLM and the detokenizer to text and speech</title>",
        f"<defs>{marker}</marker></defs>",
    ]
    parts += [
        f'<path d="M{x} {y} {to_x} {to_y}" stroke="{inks["line"]}" stroke-width="1.5" marker-end="url(#tip)"/>'
        for (x, y), (to_x, to_y) in ARROWS
    ]
    for left, top, width, height, kind, title, below in BOXES:
        middle = left + width / 2
        parts.append(
            f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="8" fill="{inks[kind]}" '
            f'stroke="{inks["line"]}"/><g fill="{inks["text"]}" text-anchor="middle">'
            f'<text x="{middle:g}" y="{top + height / 2 - 3:g}" font-size="17" font-weight="600">{title}</text>'
            f'<text x="{middle:g}" y="{top + height / 2 + 18:g}" font-size="14">{below}</text></g>'
        )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    for page, inks in INKS.items():
        (FOLDER / f"architecture-{page}.svg").write_text(picture(inks), "utf-8")
