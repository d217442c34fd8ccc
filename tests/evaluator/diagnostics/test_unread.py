import pytest

from summtune.evaluator.diagnostics.unread import LARGE, SMALL, draws_no_verdict, unread_letters, unread_share, warnings

# The first article of the Universal Declaration of Human Rights.
ARTICLE = {
    "English": "All human beings are born free and equal in dignity and rights.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen "
    "begabt und sollen einander im Geist der Brüderlichkeit begegnen.",
    "Polish": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni "
    "rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "Turkish": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve "
    "birbirlerine karşı kardeşlik zihniyeti ile hareket etmelidirler.",
    "Czech": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím a "
    "mají spolu jednat v duchu bratrství.",
    "Vietnamese": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Chinese": "人人生而自由，在尊严和权利上一律平等。",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "Thai": "มนุษย์ทั้งปวงเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Arabic": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
}


def check(*texts, tokenizer="rouge"):
    return unread_letters([(str(place), [text]) for place, text in enumerate(texts)], tokenizer)


@pytest.mark.parametrize("language", ["English", "French", "German"])
def test_a_small_share_of_unread_letters_gives_no_warning(language):
    assert check(ARTICLE[language]).share < SMALL
    assert warnings(check(ARTICLE[language])) == []


@pytest.mark.parametrize("language", ["Polish", "Turkish", "Czech"])
def test_a_medium_share_of_unread_letters_gives_a_warning_and_keeps_the_verdict(language):
    found = check(ARTICLE[language])
    assert SMALL <= found.share < LARGE
    (sentence,) = warnings(found)
    assert "(Latin beyond a-z), so words are broken into pieces; use `evaluation.tokenizer: unicode`" in sentence
    assert not draws_no_verdict(found)


@pytest.mark.parametrize(
    ("language", "script", "tokenizer"),
    [
        ("Vietnamese", "Latin beyond a-z", "unicode"),
        ("Russian", "Cyrillic", "unicode"),
        ("Hindi", "Devanagari", "unicode"),
        ("Arabic", "Arabic", "unicode"),
        ("Chinese", "Han", "character"),
        ("Thai", "Thai", "character"),
    ],
)
def test_a_large_share_of_unread_letters_suppresses_the_verdict_and_recommends_a_tokenizer(language, script, tokenizer):
    found = check(ARTICLE[language])
    assert found.share >= LARGE
    assert (found.count, found.of) == (1, 1)
    (sentence,) = warnings(found)
    assert f"({script}), so no verdict is drawn from ROUGE" in sentence
    assert f"use `evaluation.tokenizer: {tokenizer}`" in sentence
    assert draws_no_verdict(found)
    assert warnings(check(ARTICLE[language], tokenizer=tokenizer)) == []


def test_dialogues_of_any_length_have_equal_weight():
    assert check(ARTICLE["Chinese"], *[ARTICLE["English"] * 9] * 3).share == pytest.approx(1 / 4)


def test_the_unicode_tokenizer_cannot_read_clauses_without_spaces():
    (sentence,) = warnings(check(ARTICLE["Chinese"], tokenizer="unicode"))
    assert "treats whole clauses as words" in sentence
    assert "use `evaluation.tokenizer: character`" in sentence
    assert warnings(check("顾客询问订单，星期五到。", tokenizer="unicode"))
    assert warnings(check("顾客 询问 订单 什么 时候 到", tokenizer="unicode")) == []


def test_texts_without_letters_have_no_unread_share():
    assert check("1 2 3 🙂").share == 0
    assert unread_share("1 2 3", "rouge") is None
    assert unread_share("aß", "rouge") == 0.5
