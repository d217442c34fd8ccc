"""Detection of test dialogues in training texts, and the similarity of dialogues that are not copies."""

import random
from itertools import islice

import pytest

from summtune.base.errors import InputError
from summtune.base.files import read_jsonl
from summtune.data.builtin import dialogues, stream
from summtune.data.leakage import THRESHOLD, Closest, NearCopy, closest, near_copies

DIALOGUE = (
    "#Person1#: Good morning, Anna. I would like to return this lamp, because it does not work.\n"
    "#Person2#: I am sorry to hear that. Do you have the receipt with you?\n"
    "#Person1#: Yes, here it is. I bought it last Tuesday for forty dollars.\n"
    "#Person2#: Thank you. Would you rather have a new one or your money back?\n"
    "#Person1#: My money, please. Tell Ben that I said hello."
)
SAME_FAMILY = (
    "#Person1#: Hello. The kettle that you sold me is broken, can I bring it back?\n"
    "#Person2#: Of course. Do you have the receipt with you?\n"
    "#Person1#: No, I lost it on the way home.\n"
    "#Person2#: Then I can only offer you a new one, would that be fine?\n"
    "#Person1#: That is fine, thank you."
)


def prompt(*texts):
    shown = "\n\n".join(
        f"Summarize the following conversation.\n\n{text}\n\nSummary: Somebody says it." for text in texts
    )
    return f"{shown}\n\nSummarize the following conversation.\n\n{SAME_FAMILY}\n\nSummary:"


def change_words(text, count, rng):
    words = text.split(" ")
    places = [place for place, word in enumerate(words) if word.isalpha()]
    for place in rng.sample(places, count):
        words[place] = "tarvo"
    return " ".join(words)


@pytest.mark.parametrize(
    "copy",
    [
        DIALOGUE,
        DIALOGUE.upper(),
        DIALOGUE.replace("\n", "  \t\n\n"),
        DIALOGUE.replace("\n", " "),
        DIALOGUE.replace(",", "").replace(".", " ..."),
        DIALOGUE.replace("#Person1#", "Carl").replace("#Person2#", "Dora"),
        DIALOGUE.replace("#Person1#: ", "- ").replace("#Person2#: ", "- "),
        DIALOGUE.replace("Good", "Ｇｏｏｄ").replace("lamp", "la\u00admp\u200b"),
        prompt(SAME_FAMILY, DIALOGUE),
    ],
    ids=["same", "case", "lines", "one line", "punctuation", "tags", "no tags", "unicode", "inside a prompt"],
)
def test_texts_with_the_same_words_are_exact_copies(copy):
    assert near_copies([DIALOGUE], [SAME_FAMILY, copy]) == [NearCopy(0, 1, 1.0, exact=True)]


def test_composed_and_decomposed_accents_are_the_same():
    assert near_copies(["Un café, s’il vous plaît"], ["un cafe\u0301 s'il vous plai\u0302t"])[0].exact


def test_swapped_names_leave_a_near_copy():
    swapped = DIALOGUE.replace("Anna", "Ida").replace("Ben", "Anna")

    (copy,) = near_copies([DIALOGUE], [swapped])

    assert THRESHOLD < copy.similarity < 1
    assert not copy.exact


@pytest.mark.parametrize("seed", range(10))
def test_two_changed_words_leave_a_near_copy_even_in_a_long_prompt(seed):
    changed = change_words(DIALOGUE, 2, random.Random(seed))

    assert [copy.exact for copy in near_copies([DIALOGUE], [changed, prompt(changed, SAME_FAMILY)])] == [False, False]


def test_another_dialogue_of_the_same_family_is_not_a_copy():
    assert near_copies([DIALOGUE], [SAME_FAMILY, prompt(SAME_FAMILY)]) == []
    (found,) = closest([DIALOGUE], [SAME_FAMILY])
    assert 0 < found.similarity < 0.2


def test_similarity_is_the_share_of_the_test_s_shingles():
    # Of a-e, b-f, c-g, d-h the first two are left; the training text's own shingles do not count.
    assert closest(["a b c d e f g h"], ["x y z a b c d e f x y z"]) == [Closest(0.5, 0, exact=False)]
    assert closest(["a b c d"], ["b c"], shingle_words=1) == [Closest(0.5, 0, exact=False)]


def test_repeated_shingles_count_once():
    assert closest(["ha ha ha ha ha ha ha ha"], ["ha ha ha ha ha"])[0].similarity == 1


def test_similarity_counts_shingles_of_one_training_text_only():
    assert closest(["a b c d e f g h i j"], ["a b c d e f g", "d e f g h i j"])[0].similarity == 0.5


@pytest.mark.parametrize("empty", ["", " \n\t", "?! ...", "#Person1#: \n#Person2#: ...", "\u200b", "___"])
def test_texts_without_words_are_not_copies(empty):
    assert near_copies([empty, DIALOGUE], [empty, DIALOGUE]) == [NearCopy(1, 1, 1.0, exact=True)]
    assert closest([empty], [empty, DIALOGUE]) == [Closest(0.0, None, exact=False)]


def test_a_text_shorter_than_a_shingle_only_matches_a_whole_text():
    assert near_copies(["#Person1#: Hi there!"], ["Hi there, Anna.", prompt("Hi there!"), "hi there"]) == [
        NearCopy(0, 2, 1.0, exact=True)
    ]


def test_every_pair_is_named_in_the_order_of_training():
    other = "one two three four five six seven"

    found = near_copies([DIALOGUE, other, DIALOGUE], [other, "", f"{DIALOGUE}\n{other}"])

    assert [(copy.training, copy.test) for copy in found] == [(0, 1), (2, 0), (2, 1), (2, 2)]


def test_a_similarity_equal_to_the_threshold_is_a_copy():
    text, others = " ".join(f"w{i}" for i in range(14)), " ".join(f"w{i}" for i in range(11))

    assert [copy.similarity for copy in near_copies([text], [others], threshold=0.7)] == [0.7]
    assert near_copies([text], [others], threshold=0.71) == []


def test_an_exact_copy_takes_precedence_over_one_with_the_same_shingles():
    text = "a b c a b d a b c a b"
    reordered = "a b d a b c a b d"
    assert closest([text], [reordered], shingle_words=2)[0] == Closest(1.0, 0, exact=False)

    assert closest([text], [reordered, text, text, reordered], shingle_words=2) == [Closest(1.0, 1, exact=True)]


def test_a_word_is_not_found_inside_another():
    text = "art is long and life is short"
    assert not any(copy.exact for copy in near_copies([text], ["smart is long and life is short"], threshold=0.1))


def test_training_texts_are_read_once_and_one_at_a_time():
    given = iter([SAME_FAMILY, DIALOGUE])

    assert [copy.training for copy in near_copies([DIALOGUE], given)] == [1]
    assert next(given, None) is None


def test_empty_inputs_have_no_copies():
    assert near_copies([], [DIALOGUE]) == []
    assert near_copies([DIALOGUE], []) == []
    assert closest([], [DIALOGUE]) == []


def test_counting_agrees_with_the_definition():
    rng = random.Random(0)
    tests, training = ([" ".join(rng.choices("abcd", k=rng.randrange(12))) for _ in range(60)] for _ in range(2))

    def shingles(text):
        words = text.split()
        whole = {tuple(words)} if words else set()
        return {tuple(words[at : at + 3]) for at in range(len(words) - 2)} or whole

    expected = {
        (a, b): len(shingles(test) & shingles(text)) / len(shingles(test))
        for b, text in enumerate(training)
        for a, test in enumerate(tests)
        if shingles(test)
    }
    found = near_copies(tests, training, threshold=0.25, shingle_words=3)

    assert {(copy.test, copy.training): copy.similarity for copy in found} == {
        pair: value for pair, value in expected.items() if value >= 0.25
    }
    assert [one.similarity for one in closest(tests, training, shingle_words=3)] == [
        max((value for (a, _), value in expected.items() if a == test), default=0.0) for test in range(len(tests))
    ]


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, 70, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(threshold):
    with pytest.raises(InputError, match=rf"\(got {threshold}\)"):
        near_copies([DIALOGUE], [DIALOGUE], threshold=threshold)


def test_a_shingle_without_words_is_refused():
    with pytest.raises(InputError, match="got shingle_words 0"):
        closest([DIALOGUE], [DIALOGUE], shingle_words=0)


def test_planted_near_copies_of_built_in_dialogues_are_found_among_many():
    rng = random.Random(1)
    tests = [one.dialogue for one in dialogues("test") if len(one.dialogue.split()) > 50]
    training = [one.dialogue for one in islice(stream(), 500)]
    training[100] = change_words(tests[3], 2, rng)
    training[200] = "\n\n".join((training[200], change_words(tests[7], 2, rng), training[201]))

    assert [(copy.test, copy.training) for copy in near_copies(tests, training)] == [(3, 100), (7, 200)]


@pytest.mark.real
def test_the_dialogues_that_dialogsum_has_in_both_splits_are_found(test_data):
    tests, validation = (
        [row["dialogue"] for row in read_jsonl(test_data / "data" / "dialogsum" / name)]
        for name in ("test.jsonl", "validation.jsonl")
    )

    highest = sorted((one.similarity for one in closest(tests, validation)), reverse=True)

    assert highest[10] == pytest.approx(0.87, abs=0.005)
    assert highest[11:13] == pytest.approx([0.44, 0.20], abs=0.005)
    assert len({copy.test for copy in near_copies(tests, validation)}) == 11


def test_near_copies_are_found_without_spaces_between_words():
    test = "您好，请问有什么可以帮您？我的订单还没有到，能不能帮我查一下是什么原因。好的，星期五会送到您家。"
    changed = test.replace("星期五", "星期一").replace("您好", "你好")
    other = "请问图书馆几点关门？今天晚上九点关门，周末六点。谢谢，那我明天再来借书。"
    assert [(copy.training, copy.exact) for copy in near_copies([test], [other, changed])] == [(1, False)]
