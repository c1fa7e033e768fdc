"""Rules on texts in other languages than English, and lists of words."""

from pathlib import Path
from typing import Any

import pytest
from justext import get_stoplist

from filters import paragraph, word_lists
from filters.rule import first_failure
from filters.rules import PAGES_JUDGED
from filters.text import ends, measure
from filters.word_lists import LISTS, WordListError, languages, word_list
from filters.words import words_of
from pipeline.claim import may_claim
from pipeline.engine.corpus import CorpusDirectory
from pipeline.errors import BuildError
from pipeline.recipe import load, read_again

# the Universal Declaration of Human Rights, articles 1 to 5
SPACELESS = {
    "zh": "人人生而自由，"
    "在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。人人有资格享有本"
    "宣言所载的一切权利和自由。人人有权享有生命、自由和人身安全。任何人不得使为奴隶或奴役。",
    "ja": "すべての人間は、"
    "生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授け"
    "られており、互いに同胞の精神をもって行動しなければならない。すべて人は、生命、自由及び身体の安全に対する権利を有する。",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วย"
    "เจตนารมณ์แห่งภราดรภาพ บุคคลมีสิทธิในการดำรงชีวิต เสรีภาพ และความมั่นคงแห่งตัวตน",
    "lo": "ມະນຸດເກີດມາມີສິດເສລີພາບ ແລະ ສະເໝີໜ້າກັນໃນທາງກຽດຕິສັກ ແລະ ທາງສິດດ້ວຍມະນຸດມີສະຕິສຳປັດຊັນຍະ ແລະຕ້ອງປະພຶດຕົນຕໍ່ກັນ"
    "ໃນທາງພີ່ນ້ອງ ຄົນທຸກຄົນມີສິດໃນການມີຊີວິດ",
    "km": "មនុស្សទាំងអស់កើតមកមានសេរីភាពនិងសមភាពក្នុងសេចក្តីថ្លៃថ្នូរនិងសិទ្ធិ។ មនុស្សមានវិចារណញ្ញាណនិងសតិសម្បជញ្ញៈជាប់ពីកំណើត"
    " ហើយគប្បីប្រព្រឹត្តចំពោះគ្នាទៅវិញទៅមកក្នុងស្មារតីរាប់អានគ្នាជាបងប្អូន។",
    "my": "လူတိုင်းသည် တူညီလွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့်လည်းကောင်း၊ အခွင့်အရေးများဖြင့်လည်းကောင်း မွေးဖွားလာသူများဖြစ်သည်။ ထိုသူတို့၌"
    " ပိုင်းခြားဝေဖန်တတ်သော ဉာဏ်နှင့် ကျင့်ဝတ်သိတတ်သောစိတ်တို့ရှိ၍ အချင်းချင်းမေတ္တာထား၍ ဆက်ဆံကျင့်သုံးသင့်၏။",
    "bo": "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས་དང༌། ཐོབ་ཐང་གི་རང་དབང་འདྲ་མཉམ་དུ་ཡོད་ལ། ཁོང་ཚོར་རང་བྱུང་གི་བློ་རྩལ་དང་"
    "བསམ་ཚུལ་བཟང་པོ་འདོན་པའི་འོས་བབས་ཀྱང་ཡོད།",
}
HINDI = (
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और"
    " परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए। प्रत्येक व्यक्ति को जीवन, स्वाधीनता और वैयक्तिक सुरक्षा का अधिकार है।"
)
GERMAN = (
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und"
    " sollen einander im Geist der Brüderlichkeit begegnen."
)
PACKAGED = {"text.stop_words": "packaged", "text.flagged_words": "glin-profanity", "text.common_words": "wordfreq"}
PERMISSIVE = {"text.languages": (), "text.min_language_score": 0.0, "text.min_words": 20}
"""What lets pages of other languages, and of the length of these texts, pass the papers' presets."""


def values(preset: str, tmp_path: Path) -> dict[str, Any]:
    spam = tmp_path / "spam.txt"
    spam.write_text("casino")
    return load(preset).values() | PACKAGED | PERMISSIVE | {"paragraph.spam_words": str(spam)}


def page(text: str, language: str, known: dict[str, Any]) -> dict[str, Any]:
    about = {"pictures": 1, "language": language, "language_score": 1.0, "licence": ""}
    return measure(text, (), language, known) | about


@pytest.mark.parametrize("preset", ["web", "m3w", "obelics", "mmc4"])
@pytest.mark.parametrize("language", SPACELESS)
def test_no_rule_judges_a_script_without_spaces_by_words(language: str, preset: str, tmp_path: Path) -> None:
    """Neither pages nor paragraphs, also if the language was not identified or taken for English."""
    text, known = SPACELESS[language], values(preset, tmp_path)
    assert not words_of(text).judged
    for told in (language, "en", ""):
        (measured,) = paragraph.measure([text], told, known)
        assert first_failure(paragraph.MEASURED, measured, known) is None
        whole = text if preset != "mmc4" else text * 5  # it asks for five sentences
        assert first_failure(PAGES_JUDGED, page(whole, told, known), known) is None


@pytest.mark.parametrize("text", [HINDI, "این یک متن فارسی است که در آن می‌خواهم نیم‌فاصله‌ها را به کار ببرم؛ می‌بینید؟"])
def test_marks_and_joiners_are_parts_of_words(text: str) -> None:
    assert words_of(text).spaced == [word.strip("।,؛؟") for word in text.split()]
    assert measure(text * 4)["mean_word_length"] > 3


def test_pages_in_hindi_pass_the_default_recipe() -> None:
    assert first_failure(PAGES_JUDGED, page(HINDI, "hi", {}), load("web").values()) is None


def test_an_emoji_is_no_word() -> None:
    assert words_of("❤️ cafe\u0301 co\u00adoperate").spaced == ["cafe\u0301", "co\u00adoperate"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The end.", True), ("The end. ", True), ("Really?\u201d", True), ("and so...", False), ("and so…", False),
        ("A heading", False), ("写真を見てください。", True), ("写真", False), ("यह अन्त है।", True), ("ទេ។", True),
        ("ပြီးပြီ။", True), ("จบแล้ว", True), ("ຈົບແລ້ວ", True), ("", False),
    ],
)  # fmt: skip
def test_ends_of_sentences(text: str, expected: bool) -> None:
    assert ends(text) == expected
    (measured,) = paragraph.measure([text], "en", {})
    assert measured["paragraph_terminal"] == expected


def test_sentences_are_counted_by_the_marks_of_their_script() -> None:
    found = {code: measure(text, (), code)["sentences"] for code, text in {**SPACELESS, "hi": HINDI}.items()}
    assert found == {"zh": 5, "ja": 3, "th": -1, "lo": -1, "km": 2, "my": 2, "bo": 3, "hi": 3}


def test_policies_are_looked_for_in_english_only() -> None:
    text = "Our JavaScript uses cookies."
    told = {code: paragraph.measure([text], code, {})[0]["paragraph_policy"] for code in ("en", "de", "")}
    assert told == {"en": True, "de": False, "": False}


def test_stop_words_of_other_languages_are_comparable_with_those_of_english() -> None:
    known = {"text.stop_words": "packaged"}
    assert measure(GERMAN, (), "de", known)["stop_words"] > 0.4
    assert measure("Würde Vernunft Geist Brüderlichkeit Gewissen Rechte", (), "de", known)["stop_words"] < 0.1
    assert measure(GERMAN, (), "xx", known)["stop_words"] == -1
    by_hand = sum(word.lower().strip(".") in word_list("packaged", "de") for word in GERMAN.split()) / 26
    assert measure(GERMAN, (), "de", known)["stop_words"] == pytest.approx(0.93 * by_hand, abs=1e-4)


def test_characters_that_are_no_letters_are_compared_with_english() -> None:
    text = "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다."
    assert measure(text, (), "ko")["special_characters"] == pytest.approx(
        0.71 * measure(text, (), "en")["special_characters"], abs=1e-4
    )


def test_languages_have_a_list_few_words_of_it_and_factors() -> None:
    for code, language in languages().items():
        assert language.few <= word_list("packaged", code)
        assert not language.justext or get_stoplist(language.justext)
        assert 0.5 < language.stop_words_factor < 3 and 0.5 < language.special_factor <= 1
    assert word_list("packaged", "nn") == frozenset()


def test_lists_in_packages() -> None:
    assert {"the", "of"} <= word_list("wordfreq", "en") and len(word_list("wordfreq", "en")) == 100_000
    assert word_list("wordfreq", "de") == word_list("glin-profanity", "it") == frozenset()
    assert "arsch" in word_list("glin-profanity", "de") and len(word_list("glin-profanity", "en")) > 300


def test_a_folder_of_lists(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "de.txt").write_text("Menschen frei\nund")
    (folder / "fr.txt").write_text("libre")
    known = {"text.flagged_words": str(folder)}
    assert measure(GERMAN, (), "de", known)["flagged_words"] == pytest.approx(6 / 26, abs=1e-4)
    assert measure(GERMAN, (), "fr", known)["flagged_words"] == 0
    assert measure(GERMAN, (), "en", known)["flagged_words"] == -1
    before = word_lists.list_digest(str(folder))
    (folder / "fr.txt").write_text("égal")
    assert word_lists.list_digest(str(folder)) != before


def test_an_identifier_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load("web", ["text.identifier=pycld2"])
    assert may_claim(CorpusDirectory(tmp_path / "corpus"), recipe, []) == []
    assert read_again(load("web"), recipe) == ["text.identifier"]
    monkeypatch.setattr("filters.language.find_spec", lambda name: None)
    with pytest.raises(BuildError, match=r"^text.identifier needs pycld2.*: pip install 'openm3w\[cld2\]'$"):
        may_claim(CorpusDirectory(tmp_path / "corpus"), recipe, [])


def test_lists_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(name: str, key: str = "text.common_words") -> str:
        with pytest.raises(BuildError) as error:
            may_claim(CorpusDirectory(tmp_path / "corpus"), load("web", [f"{key}={name}"]), [])
        return str(error.value)

    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "empty").mkdir()
    assert told("packaged") == "text.common_words has no list named packaged: it is one of text.stop_words"
    assert told("gone.txt") == "list gone.txt: No such file or directory"
    assert told(str(tmp_path / "latin.txt")).endswith("latin.txt is not UTF-8 text")
    assert told(str(tmp_path / "empty")).endswith("empty: the folder has no file such as en.txt")
    assert all(told("wordfreq", key.name) for key in LISTS if key is not word_lists.COMMON_WORDS)
    missing = word_lists.Packaged(word_lists.COMMON_WORDS, "no-such-package", lambda _: ())
    monkeypatch.setitem(word_lists.PACKAGED, "wordfreq", missing)
    assert told("wordfreq") == "the recipe names wordfreq, which is not installed: pip install 'openm3w[lists]'"
    with pytest.raises(WordListError):
        word_list(str(tmp_path / "latin.txt"), "en")
