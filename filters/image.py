def first_failure(w, h, spread, rules):
    if min(w, h) < rules.min_side:
        return "image.too_small"
    if max(w, h) > rules.max_aspect * min(w, h):
        return "image.aspect"
    if rules.single_colour and spread < 3:
        return "image.single_colour"
    return None
