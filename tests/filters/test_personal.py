"""Personal data: what is masked, what only looks like it, and hostile texts."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.personal import LENGTHS, mask


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jane.doe+news@mail.example-shop.co.uk.", "Write to <email>."),
        ("<admin@freedombox.org>, o'neil_x@uni-köln.de", "<<email>>, o'<email>"),
        ("Mail show@no-priors.com.Sarah is here", "Mail <email>.Sarah is here"),
        ("IBAN: GB29 NWBK 6016 1331 9268 19 BIC NWBKGB2L", "IBAN: <iban> BIC NWBKGB2L"),
        ("ref AB12 DE89370400440532013000, NO9386011117947.", "ref AB12 <iban>, <iban>."),
        ("http://193.0.14.129:8080/a, http://199.7.83.42/a.", "http://<ip>:8080/a, http://<ip>/a."),
        ("at 5.6.7.100, 100.5.6.7 and 5.6.7.99", "at <ip>, <ip> and 5.6.7.99"),
        ("[2001:7fd::1] or 2A02:2E0:3FE:1001:302::, 2001:7fd::2: up", "[<ip>] or <ip>, <ip>: up"),
        ("Call +49 (0)9546-9223-20, or +1 212-736-5000 2024", "Call <phone>, or <phone> 2024"),
        ("(212) 736-5000; 1-800-727-1111; 212.736.5000", "<phone>; <phone>; <phone>"),
        ("Tel. 030 2270, Fax: 030/227-36740. Téléphone : x", "Tel. <phone>, Fax: <phone>. Téléphone : x"),
        ("+33 1 42 76 40 40/+33142764040", "<phone>/<phone>"),
    ],
)
def test_what_is_masked(text: str, expected: str) -> None:
    changed, counts = mask(text)
    assert changed == expected
    assert counts.total() == expected.count("<email>") + sum(expected.count(f"<{n}>") for n in ("iban", "ip", "phone"))


@pytest.mark.parametrize(
    "text",
    [
        "name@example.com and me@site.example are in every manual",
        "logo@2x.png, pkg@1.2.3, @decorator, @user@host.social, user@localhost",
        "git clone git@github.com:owner/name.git",
        "GB29 NWBK 6016 1331 9268 18, PK3401.2, SKU:EL25202, RK3399 SOC 2000 DIE9",
        "013D 86D8 BA32 EAB4 A669 1BF8 5D41 53D6 FE18 8FC8",
        "version 2.7.0.11, Chrome 112.0.5615.49, firmware 1.2.3.104, section 7.8.6.2, v1.200.3.4",
        "Release 5.6.7.104 is out",
        "127.0.0.1, 10.42.0.50, 192.168.0.165, 192.0.2.53, 224.0.2.200, 8.8.8.0/24, 255.255.255.0, 1.2.3.400",
        "std::vector, a::b, 12:30:45, 2001:0db8:582:ae33::29, 2a:01:04:f8:00:11, fe80::1, 2001:7fd::/32",
        "ISBN 978-3-16-148410-0, ISBN 0-306-40615-2, ISSN 2049-3630, DOI: 10.1016/j.cell.2006.01.040",
        "2021-03-04 12:30:45.123456, 1 000 000 000, 3.14159265358979, 100-200-3000, pages 283-298",
        "C++11 2014 2017, x+12345678, +210 555 123 4567, 1e+10000000, +20000000000000",
        "In a single cell. 1234567890 reads. A phone 8 1234567890. SKU 036-612-3450, no. 212-736-50001",
        "<image> and <email> stay",
    ],
)
def test_what_only_looks_like_it(text: str) -> None:
    assert mask(text) == (text, {})


EXAMPLES = """\
NO9386011117947 BE68539007547034 DK5000400440116243 FI2112345600000785 FO6264600001631634 GL8964710001000206
NL91ABNA0417164300 MK07250120000058984 SI56263300012039086 AT611904300234573201 BA391290079401028494
EE382200221020145685 KZ86125KZT5004100100 LT121000011101001000 LU280019400644750000 XK051212012345678906
CH9300762011623852957 HR1210010051863000160 LI21088100002324013AA LV80BANK0000435195001 BG80BNBG96611020345678
BH67BMAG00001299123456 CR05015202001026284066 DE89370400440532013000 GB29NWBK60161331926819 GE29NB0000000101904917
IE29AIBK93115212345678 ME25505000012345678951 RS35260005601001611379 AE070331234567890123456 GI75NWBK000000007099453
IL620108000000099999999 TL380080012345678910157 IQ98NBIQ850123456789012 AD1200012030200359100100
CZ6508000000192000145399 ES9121000418450200051332 MD24AG000225100013104168 PK36SCBL0000001123456702
RO49AAAA1B31007593840000 SA0380000000608010167519 SE4550000000058398257466 SK3112000000198742637541
TN5910006035183598478831 VG96VPVG0000012345678901 PT50000201231234567890154 IS140159260076545510730339
TR330006100519786457841326 FR1420041010050500013M02606 GR1601101250000000012300695 IT60X0542811101000000123456
MC5811222000010123456789030 MR1300020001010000123456753 SM86U0322509800000000270100 AL47212110090000000235698741
AZ21NABZ00000000137010001944 CY17002001280000001200527600 DO28BAGR00000001212453611324 GT82TRAJ01020000001210029690
HU42117730161111101800000000 LB62099900000001001901229114 PL61109010140000071219812874 BR1800360305000010009795493C1
EG380019000500000000263180002 QA58DOHB00001234567890ABCDEFG UA213223130000026007233566001
JO94CBJO0010000000000131000302 KW81CBKU0000000000001234560101 MT84MALT011000012345MTLCAST001S
SC18SSCB11010000000000001497USD LC55HEMM000100010012001200023015 VA59001123000012345678
"""
"""The examples of the SWIFT IBAN Registry; they are no accounts."""
WORD = st.text("abcdefghijklmnopqrstuvwxyzäöü0123456789", min_size=1, max_size=9)
PIECES = st.one_of(
    WORD,
    st.sampled_from(["@", ".", ":", "+", "-", "(", ")", "/", "\n"]),
    st.sampled_from(["jane@doe.org", "+33142764040", "193.0.14.129", "2001:7fd::1", "GB29NWBK60161331926819", " "]),
)


@given(st.lists(PIECES, max_size=30).map("".join))
def test_the_rest_of_the_text_stays(text: str) -> None:
    changed, counts = mask(text)
    for name in ("iban", "email", "ip", "phone"):
        assert changed.count(f"<{name}>") == counts[f"personal.{name}"]
        changed = changed.replace(f"<{name}>", "\0")
    place = 0
    for piece in changed.split("\0"):
        place = text.index(piece, place) + len(piece)


@given(WORD, WORD, st.sampled_from(["org", "co.uk", "de", "museum"]))
def test_every_address_of_the_usual_form_is_masked(name: str, host: str, suffix: str) -> None:
    assert mask(f"mail {name}@{host}.{suffix}, please") == ("mail <email>, please", {"personal.email": 1})


@given(st.ip_addresses(v=6, network="2a00::/12"))
def test_every_address_of_a_european_network_is_masked(address: object) -> None:
    assert mask(f"at {address} or") == ("at <ip> or", {"personal.ip": 1})


@pytest.mark.parametrize("ibans", EXAMPLES.splitlines())
def test_the_examples_of_the_registry_have_the_length_of_their_country(ibans: str) -> None:
    for iban in ibans.split():
        assert mask(f"pay {iban} now") == ("pay <iban> now", {"personal.iban": 1}), iban


@given(st.sampled_from(sorted(LENGTHS)), st.text("0123456789", min_size=30, max_size=30), st.booleans(), st.data())
def test_ibans_with_their_check_digits(country: str, digits: str, grouped: bool, data: st.DataObject) -> None:
    account = digits[: LENGTHS[country] - 4]
    check = 98 - int("".join(str(int(sign, 36)) for sign in f"{account}{country}00")) % 97
    iban = f"{country}{check:02d}{account}"
    place = data.draw(st.integers(2, len(iban) - 1))
    wrong = iban[:place] + str((int(iban[place]) + 1) % 10) + iban[place + 1 :]
    if grouped:
        iban, wrong = (" ".join(text[i : i + 4] for i in range(0, len(text), 4)) for text in (iban, wrong))
    assert mask(f"pay {iban} now") == ("pay <iban> now", {"personal.iban": 1})
    assert "personal.iban" not in mask(f"pay {wrong} now")[1]


def test_counts_on_real_pages(shared: Path) -> None:
    """docs/personal-data.md has them; each was read by eye."""
    pages = sorted((shared / "data/extract/wcxb/ground-truth").glob("*.json"))
    texts = (json.loads(page.read_text("utf8"))["ground_truth"].get("main_content") for page in pages)
    counts = sum((mask(text)[1] for text in texts if text), Counter())
    assert counts == {"personal.email": 9, "personal.phone": 14}


@pytest.mark.parametrize(
    "unit",
    [
        *("a", "a.", "a-", "a@", "@", "a@a.", "1", "1.", "1 ", "1-", "+1", "+1 ", "+4930 ", "(212) ", "212-", "tel: "),
        *("tel: 1 ", "AB12", "AB12 ", "DE89 3704 ", "2001:", "::", "2001::1 ", "193.0.14.129.", "version ", "a@b.com "),
    ],
)
def test_time_is_linear_in_hostile_texts(unit: str) -> None:
    """A quadratic search takes hours for these, a linear one far below a second."""
    for text in (unit * (200_000 // len(unit)), "a@" + unit * 50_000, "+1 " + unit * 50_000):
        begun = time.process_time()
        mask(text)
        assert time.process_time() - begun < 20
