from __future__ import annotations

import pytest

from llamarium.text.language import guess_language


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("春眠不觉晓，处处闻啼鸟。", "zh"),
        ("我们使用 Transformer 模型（large language model）来生成文本。", "zh"),
        ("The poem 静夜思 is by Li Bai, and every Chinese child knows it by heart.", "en"),
        ("「の」という字は中文にもたまに見える。", "ja"),
        ("店名是“优の良品”，在街的另一边，每天都有很多人来这里买东西，味道也不错。", "zh"),
        ("모든 인간은 태어날 때부터 자유로우며", "ko"),
        ("Все люди рождаются свободными", "ru"),
        ("Le café est très bon", "en"),
        ("كل الناس يولدون أحرارا", "ar"),
        ("— 123 —", "und"),
        ("", "und"),
    ],
)
def test_the_script_decides(text: str, code: str) -> None:
    assert guess_language(text) == code
