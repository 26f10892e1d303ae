"""Masks: what leads to a person is replaced by a mark that says what stood there.

Takes: a text.
Gives: the text with e-mail addresses, phone numbers, identity-card numbers or bank-card numbers replaced.
Does not know: names and addresses of people; a mask is a help, not a promise that nothing personal is left.
"""

from __future__ import annotations

import re

EMAIL, PHONE, IDENTITY_CARD, CARD = "[email]", "[phone]", "[identity card]", "[bank card]"

# A part is bounded as RFC 5321 bounds it, so that a long run of letters costs its length.
_EMAIL = re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])", re.ASCII)
_IDENTITY_CARD = re.compile(
    r"(?<![0-9A-Za-z])[1-9][0-9]{5}(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx](?![0-9A-Za-z])"
)
_CARD = re.compile(r"(?<![0-9A-Za-z.+-])[2-6][0-9]{3}(?:[ -]?[0-9]){9,15}(?![0-9A-Za-z])")
_PHONE = re.compile(
    r"(?<![0-9A-Za-z.+/-])(?:"
    r"(?:\+?86[ -]?)?1[3-9][0-9](?:[0-9]{8}|[ -][0-9]{4}[ -][0-9]{4})"  # a Chinese mobile
    r"|(?:\(0[1-9][0-9]{1,2}\) ?|（0[1-9][0-9]{1,2}）|0[1-9][0-9]{1,2}[ -])[2-9][0-9]{6,7}"  # a Chinese line, with its area
    r"|[48]00[ -][0-9]{3,4}[ -][0-9]{3,4}"
    r"|(?:\+?1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}"  # North America
    r"|\+[1-9][0-9]{0,2}(?:[ .-]?(?:\([0-9]{1,4}\)|[0-9]{1,4})){2,6}"  # anywhere, with its country
    r")(?![0-9A-Za-z-])"
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"


def email(text: str) -> str:
    """Mask e-mail addresses.

    >>> email("Ask keeper@farm.example, or come."), email("请写信到keeper@farm.example。")
    ('Ask [email], or come.', '请写信到[email]。')
    >>> email("2 @ 3 llamas")
    '2 @ 3 llamas'
    """
    return _EMAIL.sub(EMAIL, text) if "@" in text else text


def phone(text: str) -> str:
    """Mask phone numbers: Chinese mobiles, lines with their area, 400 numbers; North American ones; any that begins with + and a country.

    >>> phone("Call (212) 555-0123 or +44 20 7946 0958."), phone("请拨13800138000，或010-62345678。")
    ('Call [phone] or [phone].', '请拨[phone]，或[phone]。')
    >>> phone("2024-01-02, 3.14159265358, ISBN 978-7-111-12345-6")
    '2024-01-02, 3.14159265358, ISBN 978-7-111-12345-6'
    """
    return _PHONE.sub(PHONE, text)


def identity_card(text: str) -> str:
    """Mask Chinese identity-card numbers of 18 places whose date and check digit are right (GB 11643-1999: ISO 7064, MOD 11-2).

    >>> identity_card("Number 11010519491231002X."), identity_card("身份证号11010519491231002X")
    ('Number [identity card].', '身份证号[identity card]')
    >>> identity_card("身份证号110105194912310021")
    '身份证号110105194912310021'
    """
    return _IDENTITY_CARD.sub(lambda found: IDENTITY_CARD if is_identity_card(found[0]) else found[0], text)


def is_identity_card(number: str) -> bool:
    """Whether the last of 18 places agrees with the others.

    >>> is_identity_card("11010519491231002X"), is_identity_card("110105194912310021")
    (True, False)
    """
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _WEIGHTS, strict=True))
    return _CHECKS[total % 11] == number[17].upper()


def card(text: str) -> str:
    """Mask bank-card numbers: 13 to 19 digits, perhaps in groups, that begin with 2 to 6 and pass Luhn's check (ISO/IEC 7812-1).

    >>> card("Pay with 4111 1111 1111 1111."), card("卡号4111111111111111，")
    ('Pay with [bank card].', '卡号[bank card]，')
    >>> card("卡号4111111111111112")
    '卡号4111111111111112'
    """
    return _CARD.sub(lambda found: CARD if luhn(found[0]) else found[0], text)


def luhn(number: str) -> bool:
    """Whether the digits pass Luhn's check: every second from the right is doubled, and all their digits add up to a multiple of ten.

    >>> luhn("4111 1111 1111 1111"), luhn("4111 1111 1111 1112")
    (True, False)
    """
    digits = [int(digit) for digit in number if digit.isdigit()]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


MASKS = {"email": email, "identity_card": identity_card, "card": card, "phone": phone}
"""By the names that users give, in the order in which they are asked: a phone number is the least certain."""
