"""Pages of clips: a shape that moves or changes its size, with a sentence that says how. Only the order of the frames
tells a movement from its reverse."""

import random
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from pipeline.miniweb.compose import Writing, publish
from pipeline.miniweb.markup import Draft, Figure, Paragraph, Site, attributes, reference
from pipeline.miniweb.pictures import COLOUR_RGB, COLOURS
from pipeline.miniweb.words import Prose

MOTIONS = {
    "moves to the left": (0.8, 0.5, 0.2, 0.5, 0.5, 0.5),
    "moves to the right": (0.2, 0.5, 0.8, 0.5, 0.5, 0.5),
    "moves up": (0.5, 0.75, 0.5, 0.25, 0.5, 0.5),
    "moves down": (0.5, 0.25, 0.5, 0.75, 0.5, 0.5),
    "grows": (0.5, 0.5, 0.5, 0.5, 0.15, 0.9),
    "shrinks": (0.5, 0.5, 0.5, 0.5, 0.9, 0.15),
}
"""Centre (x, y) at the start and at the end, as shares of the sides, and the size at both, as a share of the height.
Each is the reverse of its neighbour."""
WIDTH, HEIGHT, RATE, SECONDS = 160, 120, 4, 8
FORMS = ("circle", "square")
CLIPS = 4  # of a page
GROUND = (236, 236, 228)


def draw_clip(motion: str, rng: random.Random, colour: int) -> bytes:
    """An MP4 file of 8 seconds; place, size and shape vary a little."""
    x, y, to_x, to_y, size, to_size = (value + rng.uniform(-0.04, 0.04) for value in MOTIONS[motion])
    form = rng.choice(FORMS)
    frames = []
    for number in range(RATE * SECONDS):
        share = number / (RATE * SECONDS - 1)
        image = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
        across, down = (x + share * (to_x - x)) * WIDTH, (y + share * (to_y - y)) * HEIGHT
        radius = max(4, (size + share * (to_size - size)) * HEIGHT / 2)
        box = [across - radius, down - radius, across + radius, down + radius]
        ink = ImageDraw.Draw(image)
        (ink.ellipse if form == "circle" else ink.rectangle)(box, fill=COLOUR_RGB[colour])
        frames.append(np.asarray(image)[..., ::-1])
    return video_file(frames, RATE)


def video_file(frames: list[np.ndarray], rate: float, codec: str = "mp4v", ending: str = "mp4") -> bytes:
    """Frames (height x width x 3, BGR) as a video file."""
    height, width = frames[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip.{ending}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, (width, height))
        for frame in frames:
            writer.write(np.ascontiguousarray(frame))
        writer.release()
        return path.read_bytes()


def clips_page(write: Writing, site: Site, name: str) -> None:
    """A page of 4 clips, each before its sentence, in a video element."""
    rng = write.rng(site.host, name)
    draft = Draft(site, f"{site.root}/{name}", "en", "Clips", [])
    for place in range(CLIPS):
        url = f"{site.root}/clips/{name.split('.')[0]}-{place + 1}.mp4"
        motion, colour = rng.choice(sorted(MOTIONS)), rng.randrange(len(COLOURS))
        write.add(url, draw_clip(motion, write.rng(url), colour), "video/mp4")
        source = f"<source{attributes(src=reference('root', url, draft.url), type='video/mp4')}>"
        html = f"<video controls{attributes(width=str(WIDTH), height=str(HEIGHT))}>{source}</video>"
        words = f"In this clip the {COLOURS[colour]} shape {motion}."
        draft.blocks += [Figure(html, url), Paragraph(Prose(words))]
    publish(write, draft, case="clips")
