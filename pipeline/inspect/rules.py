"""Every rule, in the order in which it is asked, with one line for the person who reads the funnel."""

OPT_OUTS = {
    "consent.noai": "opted out: noai",
    "consent.noimageai": "opted out: noimageai",
    "consent.noindex": "opted out: noindex",
    "consent.noml": "opted out: noml",
    "consent.tdm_reservation": "its rights are reserved (TDM Reservation Protocol)",
}
RECORDS = {
    "record.not_response": "not an HTTP response (request, metadata, warcinfo)",
    "record.corrupt": "bytes that are no record",
    "record.truncated": "the file ends, or the capture was cut off, inside it",
    "record.status": "HTTP status other than 200",
    "record.redirect": "a redirect that leads nowhere",
    "record.too_large": "larger than the recipe's limit",
    "record.empty": "no bytes",
    "record.not_a_file": "a link out of the folder or to a folder, or no regular file",
    "record.unreadable": "a file that cannot be read",
    "record.media_type": "neither a page nor a picture",
    **OPT_OUTS,
    "record.crashed": "ended its worker twice",
}
PAGES = {
    "page.too_large": "more bytes than the recipe's limit",
    "page.too_deep": "elements nested too deep",
    "page.not_html": "no HTML inside",
    **OPT_OUTS,
    "page.no_content": "no main content found",
    "page.no_image": "no picture in the main content",
    "text.too_few_words": "too few words",
    "text.too_many_words": "too many words",
    "text.mean_word_length": "words too short or too long on average",
    "text.symbol_ratio": "too many # and ellipses per word",
    "text.duplicate_lines": "too many lines that repeat",
    "text.placeholder": "placeholder text (lorem ipsum)",
    "dedup.same_capture": "the same capture twice",
    "dedup.url": "an older capture of a URL",
    "dedup.text": "the same text as another page",
    "dedup.near_text": "nearly the same text as another page",
    "page.no_image_left": "none of its pictures was kept",
}
PICTURES = {
    "image.too_large": "more bytes than the recipe's limit",
    "image.not_an_image": "the bytes are no picture",
    "image.unsupported": "a kind of picture that is not read",
    "image.too_many_pixels": "more pixels than the recipe's limit",
    "image.undecodable": "damaged: cannot be decoded",
    "record.crashed": "ended its worker twice",
}
IMAGES = {
    "image.not_fetched": "neither in the input nor fetched",
    **OPT_OUTS,
    "consent.ai_txt": "its host's ai.txt opts out",
    "robots.disallow": "its host's robots.txt does not allow it",
    "robots.unreachable": "its host's robots.txt could not be had",
    **PICTURES,
    "image.url_words": "its URL names furniture",
    "image.format": "not one of the formats wanted",
    "image.too_small": "a side is too short",
    "image.aspect": "too long and narrow",
    "image.single_colour": "one colour only",
    "image.repeated": "shown before in the same page",
    "image.too_common": "shown by too many pages",
}
WINDOWS = {
    "split.leak": "a held-out part of a book whose text or picture training documents show too",
    "window.no_image": "no picture",
    "window.no_tied_text": "hardly any text beside its pictures",
    "window.image_run": "many pictures without a word between",
    "window.cut": "the next picture cuts off too much of it",
}
EXPLAINED = {**RECORDS, **PAGES, **PICTURES, **IMAGES, **WINDOWS}


def in_order(found: dict[str, int], known: dict[str, str]) -> list[dict[str, object]]:
    """Counts by rule as rows, in the order of asking; a rule that stands in no list comes last."""
    order = [rule for rule in known if rule in found] + sorted(rule for rule in found if rule not in known)
    return [{"rule": rule, "count": found[rule]} for rule in order]
