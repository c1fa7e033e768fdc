"""Print the first training window of a corpus: its text, and the image behind each <image> token.

python examples/read_windows.py CORPUS"""

import sys

import openm3w


def main() -> None:
    window = next(iter(openm3w.open_corpus(sys.argv[1]).windows("train")))
    print(window["url"])
    print(window["text"])
    for position, image in zip(window["image_positions"], window["images"], strict=True):
        print(f"token {position} of {len(window['input_ids'])}: an image of {len(image)} bytes")


if __name__ == "__main__":
    main()
