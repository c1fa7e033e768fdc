"""Captions: what a WebVTT file says, and which file a video names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract import ExtractOptions, extract
from pipeline.extract.webvtt import is_captions, spoken
from pipeline.sources.record import Record
from pipeline.stages.captions import Captions
from shards.records import Document, Image, Text

CUE = "00:01.000 --> 00:02.000"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (f"WEBVTT\n\n{CUE}\nOne\n\n{CUE}\ntwo", "One two"),
        (f"\ufeffWEBVTT - a title\r\n\r\n{CUE} align:start\r\nOne\r\n", "One"),
        (f"WEBVTT\n\n7\n{CUE}\n<v.loud Ann>One</v> <00:01.500><c>two</c>\nthree", "One two three"),
        (f"WEBVTT\n\nNOTE not said\n\nSTYLE\n::cue {{}}\n\n{CUE}\n&lt;One&gt;&nbsp;&amp; two", "<One> & two"),
        (f"WEBVTT\n\n{CUE}\none\n\n{CUE}\none\ntwo\n\n{CUE}\ntwo\nthree", "one two three"),
        (f"WEBVTT\n\n{CUE}\nyes\n\n{CUE}\nno\n\n{CUE}\nyes", "yes no yes"),
        (f"WEBVTT\n\n{CUE}\n\n{CUE}\n<b", ""),
        ("WEBVTT", ""),
        ("", ""),
    ],
)
def test_the_text_of_captions(file: str, said: str) -> None:
    assert spoken(file.encode()) == said


@given(st.binary(max_size=400) | st.text(alphabet="WEBVT\n\r ->:0<&;ab\0", max_size=200).map(str.encode))
def test_any_bytes_give_one_line(data: bytes) -> None:
    said = spoken(data)
    assert "\n" not in said and "\0" not in said and said == said.strip()


def test_cues_of_very_many_lines_take_no_time() -> None:
    cue = f"{CUE}\n" + "\n".join(map(str, range(200_000)))
    assert spoken(f"WEBVTT\n\n{cue}\n\n{cue}".encode()).count(" ") == 199_999


@pytest.mark.parametrize(
    ("data", "known"),
    [(b"WEBVTT", True), (b"\xef\xbb\xbfWEBVTT\n", True), (b"WEBVTT head", True), (b"WEBVTTX", False), (b"", False)],
)
def test_captions_are_known_by_their_signature(data: bytes, known: bool) -> None:
    assert is_captions(data) is known


def captions_of(tracks: str) -> list[str]:
    html = f"<p>{'Words and more words. ' * 20}</p><video><source src=c.mp4>{tracks}</video><p>{'More words. ' * 20}"
    document = extract(html.encode(), "http://e.org/a/", options=ExtractOptions(videos=True))
    assert document is not None
    return [node.captions for node in document.nodes if isinstance(node, Image)]


@pytest.mark.parametrize(
    ("tracks", "chosen"),
    [
        ("", ""),
        ("<track src=a.vtt>", "http://e.org/a/a.vtt"),
        ("<track src=a.vtt><track src=b.vtt default>", "http://e.org/a/b.vtt"),
        ("<track src=a.vtt default><track kind=captions src=b.vtt>", "http://e.org/a/b.vtt"),
        ("<track kind=chapters src=a.vtt><track kind=metadata src=b.vtt>", ""),
        ("<track kind=captions src=' '>", ""),
        ("<track kind=captions src='javascript:x'>", ""),
    ],
)
def test_the_track_that_says_most(tracks: str, chosen: str) -> None:
    assert captions_of(tracks) == [chosen]


def test_tracks_of_a_video_without_files_belong_to_no_other_image() -> None:
    html = f"<p>{'Words and more words. ' * 20}</p><video><track src=a.vtt></video><p><img src=b.png>{'Words. ' * 20}"
    document = extract(html.encode(), "http://e.org/", options=ExtractOptions(videos=True))
    assert document is not None
    assert [(node.url, node.captions) for node in document.nodes if isinstance(node, Image)] == [
        ("http://e.org/b.png", "")
    ]


def vtt(number: int, said: str) -> Record:
    return Record(number, 0, 0, "response", url=f"http://e.org/{number}", body=f"WEBVTT\n\n{CUE}\n{said}".encode())


def test_captions_of_one_video_are_said_once_and_within_bounds() -> None:
    captions = Captions(100)
    assert (
        captions.add(vtt(1, "One.")) and captions.add(vtt(1, "Another capture.")) and not captions.add(vtt(2, "a" * 99))
    )
    clip = Image("http://e.org/c.mp4", captions="http://E.org:80/1", within=" ")
    said = captions.said(Document("http://e.org/", (Text("a"), clip, Text("b"), clip, Text("c"))))
    assert [node.text if isinstance(node, Text) else node.within for node in said.nodes] == [
        "a", None, "One.\n\nb", " ", "c"
    ]  # fmt: skip
