import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer

from summtune.base.errors import InputError
from summtune.base.files import read_jsonl
from summtune.evaluator.rouge import is_rouge, score_pairs, tokenize
from summtune.evaluator.sentences import sentences

NAMES = ["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"]

TEXT_OF_WORDS = "the cat cats sat on a mat meeting meet meets running ran 7 o'clock Person1 Friday İstanbul café 会议"
WORDS = TEXT_OF_WORDS.split()
MARKS = [
    " ",
    " ",
    " ",
    ". ",
    ".",
    "! ",
    "\n",
    "\n\n",
    ", ",
    " - ",
    "'s ",
    "😀",
    "\u202e",
    "\x00",
    "\u2028",
    "\t",
    "... ",
]
HOSTILE = [
    "",
    " ",
    "\n\n",
    "?!... --- ;;;",
    "😀😀 👩‍👩‍👧 🇩🇪",
    "会议推迟了。大家同意。",
    "a",
    "a\n\n\nb.\n.c\n",
    "The cat sat.\r\nOn the mat.\rAnd slept. ",
    "one two\u2028three\x0bfour\x0cfive\x1csix seven",
    "Mr. Smith met Ms. Lee vs. Dr. No. 5. Then left.",
    "STRASSE straße ﬁne ﬃ ΣΑΣ K Å İi",
    "<script>alert('x')</script> {{ 7 * 7 }} \x00 \ud800",
]
LONG = " ".join(random.Random(5).choices(WORDS, k=10_000))


def score(prediction, references, names=("rouge1",), *, use_stemmer=False, split_sentences=False):
    return score_pairs(
        [prediction], [references], list(names), use_stemmer=use_stemmer, split_sentences=split_sentences
    )


def expected(prediction, reference, names, *, use_stemmer, split_sentences):
    """Return what rouge_score says; it takes lines for sentences, so sentences are put on lines first."""
    texts = ["\n".join(sentences(text)) if split_sentences else text for text in (reference, prediction)]
    scored = RougeScorer(names, use_stemmer=use_stemmer).score(*texts)
    return [scored[name].fmeasure for name in names]


def assert_equals_rouge_score(prediction, reference, names=tuple(NAMES)):
    for use_stemmer in (True, False):
        for split_sentences in (True, False):
            how = {"use_stemmer": use_stemmer, "split_sentences": split_sentences}
            ours = score(prediction, [reference], names, **how)
            np.testing.assert_allclose(
                ours, [expected(prediction, reference, list(names), **how)], rtol=0, atol=1e-9, err_msg=str(how)
            )


def test_rouge1_is_the_f_measure_of_shared_words_as_a_fraction():
    # Two of three predicted words are among four of the reference: P = 2/3, R = 2/4, F = 4/7.
    np.testing.assert_allclose(score("the cat sat", ["the cat ran off"]), [[4 / 7]])


def test_a_row_is_a_pair_and_a_column_a_metric():
    scores = score_pairs(["a", "b"], [["a"], ["x", "b"]], ["rouge1", "rougeL"], use_stemmer=True, split_sentences=True)
    np.testing.assert_array_equal(scores, [[1, 1], [0, 0], [1, 1]])


def test_without_pairs_or_names_there_are_no_scores():
    assert score_pairs([], [], ["rouge1"], use_stemmer=True, split_sentences=True).shape == (0, 1)
    assert score("a", ["a", "b"], []).shape == (2, 0)


def test_lsum_splits_by_sentences_or_lines():
    stops = ("b b. a a.", ["a a. b b."], ["rougeL", "rougeLsum"])
    lines = ("b b.\na a.", ["a a.\nb b."], ["rougeL", "rougeLsum"])
    assert score(*stops).tolist() == [[0.5, 0.5]]
    assert score(*lines).tolist() == [[0.5, 1.0]]
    capitals = ("Bo ran. Al sat.", ["Al sat. Bo ran."], ["rougeLsum"])
    assert score(*capitals, split_sentences=True).tolist() == [[1.0]]
    assert score(*capitals).tolist() == [[0.5]]


def test_the_stemmer_joins_the_forms_of_a_word():
    assert score("talking", ["talked"]).item() == 0.0
    assert score("talking", ["talked"], use_stemmer=True).item() == 1.0


@pytest.mark.parametrize("prediction", HOSTILE)
def test_hostile_texts_score_as_in_rouge_score(prediction):
    for reference in HOSTILE:
        assert_equals_rouge_score(prediction, reference)


def test_ten_thousand_words_score_as_in_rouge_score():
    reference = " ".join(WORDS) + ". The cats were running on the mat. A meeting."
    assert_equals_rouge_score(LONG, reference)
    assert_equals_rouge_score(reference, LONG)


def test_ten_thousand_words_against_as_many_need_no_table():
    # rouge_score would make a hundred million numbers of this.
    assert score(LONG, [LONG], NAMES, use_stemmer=True, split_sentences=True).tolist() == [[1.0] * len(NAMES)]


TEXT = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(MARKS)), max_size=40).map(
    lambda parts: "".join(word + mark for word, mark in parts)
)


@settings(max_examples=150, deadline=None)
@given(TEXT, TEXT)
def test_random_texts_of_few_words_score_as_in_rouge_score(prediction, reference):
    assert_equals_rouge_score(prediction, reference)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_random_characters_score_as_in_rouge_score(prediction, reference):
    assert_equals_rouge_score(prediction, reference, [*NAMES, "rouge9"])


@pytest.mark.real
def test_real_summaries_score_as_in_rouge_score(test_data):
    rows = list(read_jsonl(test_data / "data" / "dialogsum" / "test.jsonl"))[:120]
    for row in rows:
        assert_equals_rouge_score(row["summary1"], row["summary2"])


def test_is_rouge_distinguishes_rouge_from_evaluate_metrics():
    assert all(map(is_rouge, [*NAMES, "rouge9"]))
    assert not any(map(is_rouge, ["bertscore", "metrics/rouge_like", "./rouge"]))


@pytest.mark.parametrize("name", ["rouge", "rouge0", "rouge10", "rougel", "rougeW"])
def test_a_misspelt_rouge_is_an_error_and_not_a_hub_metric(name):
    with pytest.raises(InputError, match=rf"unknown ROUGE variant \(got '{name}'\); use rouge1 to rouge9"):
        is_rouge(name)


def test_only_rouge_can_be_scored_here():
    with pytest.raises(InputError, match="not a ROUGE variant \\(got 'bertscore'\\)"):
        score("a", ["a"], ["bertscore"])


class Divided:
    """A tokenizer that rouge_score takes, which stems as rouge_score's own does."""

    def __init__(self, tokenizer, use_stemmer):
        self.tokenizer, self.stemmer = tokenizer, PorterStemmer() if use_stemmer else None

    def tokenize(self, text):
        words = tokenize(text, self.tokenizer)
        if self.stemmer is None:
            return words
        return [self.stemmer.stem(word) if len(word) > 3 and word.isascii() else word for word in words]


@settings(max_examples=100, deadline=None)
@given(TEXT, TEXT, st.sampled_from(["unicode", "character"]), st.booleans())
def test_scores_with_any_tokenizer_equal_those_of_rouge_score(prediction, reference, tokenizer, use_stemmer):
    how = {"use_stemmer": use_stemmer, "split_sentences": False}
    ours = score_pairs([prediction], [[reference]], NAMES, **how, tokenizer=tokenizer)
    theirs = RougeScorer(NAMES, tokenizer=Divided(tokenizer, use_stemmer)).score(reference, prediction)
    np.testing.assert_allclose(ours, [[theirs[name].fmeasure for name in NAMES]], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("tokenizer", "same", "other"),
    [
        ("character", "会议推迟了。大家同意。", "我想借书"),
        ("character", "明日は休みです。", "会議中"),
        ("character", "ประชุมวันศุกร์", "นี้คือ"),
        ("unicode", "Встреча в пятницу. Все согласны.", "он пришёл"),
        ("unicode", "हम कल मिलेंगे। ठीक है।", "वह गया"),
        ("unicode", "الاجتماع يوم الجمعة", "هو هنا"),
    ],
)
def test_equal_texts_score_one_and_disjoint_ones_zero_in_any_script(tokenizer, same, other):
    how = {"use_stemmer": True, "split_sentences": True, "tokenizer": tokenizer}
    names = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    assert score_pairs([same, other], [[same], [same]], names, **how).tolist() == [[1] * 4, [0] * 4]


def test_chinese_characters_score_as_counted_by_hand():
    # 会议改期了 and 会议推迟了 share three of five characters, in order, and one of four pairs.
    how = {"use_stemmer": False, "split_sentences": False, "tokenizer": "character"}
    names = ["rouge1", "rouge2", "rougeL"]
    np.testing.assert_allclose(score_pairs(["会议改期了"], [["会议推迟了"]], names, **how), [[3 / 5, 1 / 4, 3 / 5]])


def test_words_beyond_ascii_are_not_stemmed():
    how = {"use_stemmer": True, "split_sentences": False, "tokenizer": "unicode"}
    assert score_pairs(["größere talking"], [["größer talked"]], ["rouge1"], **how).item() == 0.5
