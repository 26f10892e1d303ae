from __future__ import annotations

import sys

import pytest

from llamarium.text import language
from llamarium.text.language import guess_language

# Three sentences each, of a kind that documents hold; written for this table.
SENTENCES = {
    "en": (
        "The llama walked slowly down the hill and drank from the river.",
        "How do I reset my password if I have lost my phone?",
        "Please send us the signed contract before the end of the month.",
    ),
    "de": (
        "Das Lama ging langsam den Hügel hinunter und trank aus dem Fluss.",
        "Wie kann ich mein Passwort ändern, wenn ich mein Telefon verloren habe?",
        "Bitte schicken Sie uns den unterschriebenen Vertrag bis Ende des Monats.",
    ),
    "fr": (
        "Le lama descendit lentement la colline et but dans la rivière.",
        "Comment changer mon mot de passe si j'ai perdu mon téléphone ?",
        "Veuillez nous envoyer le contrat signé avant la fin du mois.",
    ),
    "es": (
        "La llama bajó despacio por la colina y bebió agua del río.",
        "¿Cómo puedo cambiar mi contraseña si he perdido el teléfono?",
        "Por favor, envíenos el contrato firmado antes de fin de mes.",
    ),
    "it": (
        "Il lama scese lentamente dalla collina e bevve dal fiume.",
        "Come posso cambiare la password se ho perso il telefono?",
        "Vi preghiamo di inviarci il contratto firmato entro la fine del mese.",
    ),
    "pt": (
        "A lhama desceu devagar pela colina e bebeu água do rio.",
        "Como posso mudar a minha senha se perdi o meu telefone?",
        "Por favor, enviem-nos o contrato assinado até ao fim do mês.",
    ),
    "nl": (
        "De lama liep langzaam de heuvel af en dronk uit de rivier.",
        "Hoe kan ik mijn wachtwoord wijzigen als ik mijn telefoon kwijt ben?",
        "Stuur ons alstublieft het ondertekende contract voor het einde van de maand.",
    ),
    "pl": (
        "Lama powoli zeszła ze wzgórza i napiła się wody z rzeki.",
        "Jak mogę zmienić hasło, jeśli zgubiłem swój telefon?",
        "Prosimy o przesłanie podpisanej umowy przed końcem miesiąca.",
    ),
    "sv": (
        "Laman gick långsamt nerför kullen och drack vatten ur floden.",
        "Hur kan jag byta mitt lösenord om jag har tappat bort min telefon?",
        "Vänligen skicka oss det undertecknade avtalet före månadens slut.",
    ),
    "fi": (
        "Laama käveli hitaasti alas mäkeä ja joi vettä joesta.",
        "Miten voin vaihtaa salasanani, jos olen kadottanut puhelimeni?",
        "Lähettäkää meille allekirjoitettu sopimus ennen kuun loppua.",
    ),
    "tr": (
        "Lama yavaşça tepeden aşağı indi ve nehirden su içti.",
        "Telefonumu kaybettiysem şifremi nasıl değiştirebilirim?",
        "Lütfen imzalı sözleşmeyi ay sonundan önce bize gönderin.",
    ),
    "vi": (
        "Con lạc đà chậm rãi đi xuống đồi và uống nước ở dòng sông.",
        "Làm thế nào để đổi mật khẩu nếu tôi bị mất điện thoại?",
        "Vui lòng gửi cho chúng tôi hợp đồng đã ký trước cuối tháng.",
    ),
    "ru": (
        "Лама медленно спустилась с холма и напилась воды из реки.",
        "Как сменить пароль, если я потерял свой телефон?",
        "Пожалуйста, пришлите нам подписанный договор до конца месяца.",
    ),
    "uk": (
        "Лама повільно зійшла з пагорба й напилася води з річки.",
        "Як змінити пароль, якщо я загубив свій телефон?",
        "Будь ласка, надішліть нам підписаний договір до кінця місяця.",
    ),
    "ar": (
        "نزلت اللاما ببطء من التل وشربت الماء من النهر.",
        "كيف يمكنني تغيير كلمة المرور إذا فقدت هاتفي؟",
        "يرجى إرسال العقد الموقع إلينا قبل نهاية الشهر.",
    ),
    "fa": (
        "لاما آهسته از تپه پایین آمد و از رودخانه آب نوشید.",
        "اگر گوشی خود را گم کرده باشم چگونه می‌توانم رمز عبورم را عوض کنم؟",
        "لطفاً قرارداد امضا شده را پیش از پایان ماه برای ما بفرستید.",
    ),
    "el": (
        "Το λάμα κατέβηκε αργά τον λόφο και ήπιε νερό από το ποτάμι.",
        "Πώς μπορώ να αλλάξω τον κωδικό μου αν έχασα το τηλέφωνό μου;",
        "Παρακαλούμε στείλτε μας το υπογεγραμμένο συμβόλαιο.",
    ),
    "zh": (
        "羊驼慢慢走下山坡，到河边喝水。",
        "學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？",
        "请在月底之前把签好的合同（contract）寄给我们。",
    ),
    "ja": (
        "ラマはゆっくりと丘を下りて、川の水を飲んだ。",
        "電話をなくした場合、パスワードはどうやって変更できますか。",
        "月末までに署名済みの契約書をお送りください。",
    ),
    "ko": (
        "라마는 천천히 언덕을 내려와 강물을 마셨다.",
        "전화기를 잃어버렸을 때 비밀번호를 어떻게 바꾸나요?",
        "이달 말까지 서명한 계약서를 보내 주십시오.",
    ),
}


@pytest.mark.parametrize("code", SENTENCES)
def test_twenty_languages_are_told_apart_by_sentences(code: str) -> None:
    assert [guess_language(sentence) for sentence in SENTENCES[code]] == [code] * 3


@pytest.mark.parametrize("code", SENTENCES)
def test_long_texts(code: str) -> None:
    assert guess_language("\n".join(SENTENCES[code] * 50)) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("春眠不觉晓，处处闻啼鸟。", "zh"),
        ("我们使用 Transformer 模型（large language model）来生成文本。", "zh"),
        ("The poem 静夜思 is by Li Bai, and every Chinese child knows it by heart.", "en"),
        ("「の」という字は中文にもたまに見える。", "ja"),
        ("店名是“优の良品”，在街的另一边，每天都有很多人来这里买东西，味道也不错。", "zh"),
        ("모든 인간은 태어날 때부터 자유로우며", "ko"),
        ("子曰：「吾十有五而志于學，三十而立，四十而不惑。」", "zh"),
        ("— 123 —", "und"),
        ("", "und"),
        ("🌾🌾🌾", "und"),
        ("\u200b\ufeff", "und"),
    ],
)
def test_the_script_decides(text: str, code: str) -> None:
    assert guess_language(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "Le café est bon",  # too short to tell
        "The llama.",
        "def read(path):\n    with open(path) as file:\n        return json.load(file)\n",
        "for (int i = 0; i < n; i++) {\n    sum += values[i];\n}\n",
        "SELECT name, age FROM users WHERE id = 3 ORDER BY name;",
        "- apples, 3 kg\n- pears, 2 kg\n- plums, 1 kg\n- x-ray film",
        " ".join(f"word{number}" for number in range(7, 2000, 53)),
    ],
)
def test_code_lists_and_short_texts_are_no_exotic_language(text: str) -> None:
    assert guess_language(text) in ("en", "und")


def test_without_the_package_the_script_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    language._model.cache_clear()
    language._classifier.cache_clear()
    try:
        assert [guess_language(SENTENCES[code][0]) for code in ("de", "uk", "fa", "zh", "ja")] == ["en", "ru", "ar", "zh", "ja"]
    finally:
        language._model.cache_clear()
        language._classifier.cache_clear()


def test_the_whole_of_a_long_text_is_not_read_and_halves_agree() -> None:
    text = SENTENCES["fr"][0] * 1_000_000
    assert guess_language(text) == "fr"
    assert guess_language("\ud800" + SENTENCES["en"][0]) == "en"
