from __future__ import annotations

from llamarium.text.deduplicate import Seen, fingerprint


def test_case_and_spacing_do_not_count() -> None:
    assert fingerprint(" The llama\n\neats\tgrass. ") == fingerprint("the LLAMA eats grass.")
    assert fingerprint("羊驼　吃草") == fingerprint("羊驼 吃草\n")
    assert fingerprint("The llama eats grass.") != fingerprint("The llama eats grass")


def test_the_first_copy_is_named() -> None:
    seen = Seen()
    assert [seen.before(text, source) for text, source in [("One", "a"), ("Two", "b"), ("ONE", "c"), ("one ", "a")]] == [
        None,
        None,
        "a",
        "a",
    ]
