"""Under which licence a document says it stands: a count for the report, no legal advice.

Takes: a text.
Gives: the name of a licence that it states about itself, or "" where it states none that is known here.
Does not know: whether the statement is true, or meant for all of the text.
"""

from __future__ import annotations

import re

REACH = 3_000  # characters at the start and at the end, where such statements stand

# The first that is found names the licence, the narrower ones first; by SPDX identifiers (https://spdx.org/licenses/) where there are some.
_STATEMENTS = (
    (r"SPDX-License-Identifier:\s*([A-Za-z0-9.+-]+)", ""),
    (r"creativecommons\.org/publicdomain/zero|\bCC0\b", "CC0-1.0"),
    (r"creativecommons\.org/licenses/(by(?:-nc)?(?:-nd|-sa)?)/", "CC-"),
    (r"\bCC[ -](BY(?:-NC)?(?:-ND|-SA)?)\b", "CC-"),
    (r"知识共享|知識共享|创作共用", "CC"),
    (r"Project Gutenberg License|Project Gutenberg-tm", "Project Gutenberg"),
    (r"GNU Free Documentation Licen[sc]e|GNU自由文档许可证", "GFDL"),
    (r"GNU Affero General Public Licen[sc]e", "AGPL"),
    (r"GNU Lesser General Public Licen[sc]e", "LGPL"),
    (r"GNU General Public Licen[sc]e|GNU通用公共许可证", "GPL"),
    (r"Apache Licen[sc]e,? (?:Version )?2\.0", "Apache-2.0"),
    (r"Mozilla Public Licen[sc]e", "MPL"),
    (r"Permission is hereby granted, free of charge|\bMIT Licen[sc]e\b", "MIT"),
    (r"Redistribution and use in source and binary forms", "BSD"),
    (r"(?i:public domain)|公有领域|公共领域", "public domain"),
    (r"(?i:all rights reserved)|版权所有|版權所有|保留所有权利|未经(?:授权|许可)", "all rights reserved"),
)
# A word of each statement: looking for plain words is a hundred times quicker, and most texts have none.
_WORDS = (
    *("icense", "icence", "LICENSE", "creativecommons", "CC0", "CC BY", "CC-BY", "ublic domain", "UBLIC DOMAIN", "ermission is hereby"),
    *("edistribution and use", "ights reserved", "IGHTS RESERVED", "ights Reserved", "知识共享", "知識共享", "创作共用", "许可证"),
    *(
        "公有领域",
        "公共领域",
        "版权所有",
        "版權所有",
        "保留所有权利",
        "未经授权",
        "未经许可",
        "ublic Domain",
        "ENSE-IDENTIFIER",
        "-License-",
    ),
)
_EACH = tuple((re.compile(pattern), name) for pattern, name in _STATEMENTS)


def licence(text: str) -> str:
    """The licence that a text names at its start or end.

    >>> licence("Llamas. This work is licensed under https://creativecommons.org/licenses/by-sa/4.0/"), licence("羊驼 版权所有")
    ('CC-BY-SA', 'all rights reserved')
    >>> licence("The llama eats grass.")
    ''
    """
    sample = text if len(text) <= 2 * REACH else f"{text[:REACH]}\n{text[-REACH:]}"
    if not any(word in sample for word in _WORDS):
        return ""
    for pattern, name in _EACH:
        if found := pattern.search(sample):
            stated = found[1].upper() if found.groups() else ""
            return (found[1] if not name else name + stated) if found.groups() else name
    return ""
