"""Extract the main content of a page and print its nodes in reading order.

python examples/extract_page.py PAGE.html URL"""

import sys
from pathlib import Path

import openm3w


def main() -> None:
    path, url = sys.argv[1:]
    document = openm3w.extract(Path(path).read_bytes(), url)
    if document is None:
        raise SystemExit(f"{path}: no main content")
    for node in document.nodes:
        if isinstance(node, openm3w.Text):
            print(node.text)
        else:
            print(f"[image {node.url}]")


if __name__ == "__main__":
    main()
