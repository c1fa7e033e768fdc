"""The labels of the Encoding standard (WHATWG) that occur on pages."""

import pytest
import webencodings
from webencodings.labels import LABELS

from pipeline.extract.charset import codec, decode, logical

CYRILLIC, LATIN = "Смотритель маяка каждый вечер", "Der Wärter stieg jeden Abend über die große Treppe"
TEXTS = {
    **dict.fromkeys(("ibm866", "iso-8859-5", "koi8-r", "windows-1251", "x-mac-cyrillic"), CYRILLIC),
    **dict.fromkeys(("gbk", "gb18030"), "守塔人每天晚上登上楼梯镕"),
    **dict.fromkeys(("iso-2022-jp", "shift_jis", "euc-jp"), "灯台守は毎晩、階段を登った"),
    **dict.fromkeys(("iso-8859-6", "windows-1256"), "كان حارس المنارة يصعد الدرج"),
    **dict.fromkeys(("iso-8859-7", "windows-1253"), "Ο φύλακας του φάρου ανέβαινε"),
    **dict.fromkeys(("iso-8859-8", "iso-8859-8-i", "windows-1255"), "שומר המגדלור טיפס במדרגות"),
    **dict.fromkeys(("iso-8859-4", "iso-8859-10", "iso-8859-13", "windows-1257"), "Ūdens ceļš pāri ēnām, žēl"),
    **dict.fromkeys(("iso-8859-2", "iso-8859-16", "windows-1250"), "Străjerul urca în fiecare seară, łódź"),
    "big5": "守塔人每天晚上登上樓梯",
    "euc-kr": "등대지기는 매일 저녁 계단을 올라갔다 똠",
    "iso-8859-3": "Ĝis la revido, ĉiuj ŝatas ĵaŭdon",
    "iso-8859-14": "Ŵyneb y tŷ, ŷ ẁ",
    "koi8-u": "Доглядач маяка щовечора піднімався їжею",
    "windows-874": "คนเฝ้าประภาคารขึ้นบันไดทุกเย็น",
    "windows-1254": "Fener bekçisi her akşam yığınla çıkardı",
    "windows-1258": "Người gác đèn".replace("ườ", "ươ\u0300").replace("è", "e\u0300"),
}


@pytest.mark.parametrize("label", sorted(LABELS))
def test_pages_under_every_label_of_the_standard(label: str) -> None:
    name = LABELS[label]
    text = TEXTS.get(name, LATIN)
    if name == "replacement":
        assert codec(label) is None, "an encoding in which harmless bytes become markup"
        return
    if name.startswith("utf-16"):  # HTML's prescan: whoever can declare it in ASCII bytes does not use it
        assert text in decode(f"<meta charset={label}><p>{text}".encode())
        return
    if name == "x-user-defined":
        assert text in decode(f"<meta charset={label}><p>{text}".encode("cp1252"))
        return
    stored = logical(text) if name == "iso-8859-8" else text  # from left to right, as it is shown
    data = webencodings.encode(f"<meta charset={label}><p>{stored}</p>", label)
    assert text in decode(data)
    assert text in decode(webencodings.encode(f"<p>{stored}</p>", label), f"text/html; charset={label.upper()}")


def test_visual_hebrew_is_read_from_right_to_left() -> None:
    lines = "<p class='אב'>(1998) רצה רולדגמה רמוש<br>,Hello World &amp; תוגרדמב ספיט</p>"
    read = "<p class='אב'>שומר המגדלור הצר (1998)<br>טיפס במדרגות &amp; Hello World,</p>"
    assert decode(lines.encode("iso8859-8"), "text/html; charset=iso-8859-8") == read
    assert decode(lines.encode("iso8859-8"), "text/html; charset=iso-8859-8-i") == lines
    assert logical(logical(read)) == read


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Windows-1251 ", "cp1251"),
        ("latin-1", "cp1252"),
        ("utf8mb4", "utf-8"),
        ("MacCyrillic", "mac-cyrillic"),
        ("Johab", "cp949"),
        ("cp437", "cp437"),
        ("utf-7", None),
        ("hz", None),
        ("rot13", None),
        ("idna", None),
        ("no-such-charset", None),
    ],
)
def test_other_labels(label: str, expected: str | None) -> None:
    assert codec(label) == expected


ARABIC = "صعد حارس الفنار الدرج كل مساء وأوقد المصباح ثم كتب الساعة في الدفتر، ولم يقرأه أحد أربعين سنة."
UKRAINIAN = (
    "Доглядач маяка щовечора підіймався сходами, запалював лампу й записував годину "
    "до журналу. Її світло бачили їхні кораблі."
)
UNDECLARED = {
    "windows-1256": ARABIC,
    "iso-8859-6": ARABIC,
    "windows-1255": "שומר המגדלור טיפס בכל ערב במדרגות, הדליק את המנורה ורשם את השעה ביומן, ואיש לא קרא בו.",
    "windows-1253": (
        "Ο φύλακας του φάρου ανέβαινε κάθε βράδυ τις σκάλες, άναβε τη λάμπα και έγραφε την ώρα στο ημερολόγιο."
    ),
    "windows-1251": "Смотритель маяка каждый вечер поднимался по лестнице, зажигал лампу и записывал час в журнал.",
    "koi8-r": "Смотритель маяка каждый вечер поднимался по лестнице, зажигал лампу и записывал час в журнал.",
    "koi8-u": UKRAINIAN,
    "windows-1250": (
        "Strážce majáku každý večer vystoupal po schodech, rozsvítil lampu a zapsal čas do deníku, který nikdo nečetl."
    ),
    "windows-1254": (
        "Fener bekçisi her akşam merdivenleri çıkar, lambayı yakar ve saati deftere yazardı; kimse onu okumadı."
    ),
    "windows-1257": (
        "Švyturio prižiūrėtojas kas vakarą užlipdavo laiptais, uždegdavo lempą ir įrašydavo valandą į žurnalą."
    ),
    "windows-1252": (
        "Der Wärter stieg jeden Abend die Treppe hinauf, zündete die Lampe an und schrieb die Stunde in das große Buch."
    ),
    "windows-874": "คนเฝ้าประภาคารขึ้นบันไดทุกเย็น จุดตะเกียง และเขียนเวลาลงในสมุดบันทึก ไม่มีใครอ่านมันเลย",
    "euc-kr": "등대지기는 매일 저녁 계단을 올라가 등불을 켜고 시간을 일지에 적었다. 아무도 그것을 읽지 않았다.",
    "gb18030": "守塔人每天晚上登上楼梯，点亮灯，把时间写进日志。四十年来没有人读过它。",
    "big5": "守塔人每天晚上登上樓梯，點亮燈，把時間寫進日誌。四十年來沒有人讀過它。",
    "shift_jis": "灯台守は毎晩階段を登り、ランプに火をともし、時刻を日誌に書いた。四十年のあいだ誰も読まなかった。",
    "euc-jp": "灯台守は毎晩階段を登り、ランプに火をともし、時刻を日誌に書いた。四十年のあいだ誰も読まなかった。",
    "iso-2022-jp": "灯台守は毎晩階段を登り、ランプに火をともし、時刻を日誌に書いた。四十年のあいだ誰も読まなかった。",
}


@pytest.mark.parametrize("label", sorted(UNDECLARED))
@pytest.mark.parametrize("around", ["", "<p>The keeper lit the lamp.</p>" * 200])
def test_encodings_that_no_page_declares_are_detected(label: str, around: str) -> None:
    """`python -m tests.bench.charset` measures it."""
    text = UNDECLARED[label]
    data = f"<title>Page</title>{around}".encode() + webencodings.encode(f"<p>{text}</p>", label, "strict")
    assert text in decode(data)
