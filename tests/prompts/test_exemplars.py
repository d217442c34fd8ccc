"""Choice of exemplars."""

import math
import re
from collections import Counter
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summtune.base.errors import DataError
from summtune.prompts.exemplars import choose_exemplars
from summtune.runs.records import Dialogue


def made(*texts: str) -> list[Dialogue]:
    return [Dialogue(f"d{number}", text, ("s",)) for number, text in enumerate(texts)]


POOL = made("the cat sat", "a dog ran home", "the cat ran", "my train is late", "the cat sat down")
TARGETS = [Dialogue("t0", "where is my late train", ("s",)), Dialogue("t1", " the cat sat\n", ("s",))]


def ids(chosen: tuple[Dialogue, ...]) -> list[str]:
    return [one.id for one in chosen]


def test_no_shots_need_no_pool() -> None:
    assert choose_exemplars([], TARGETS, 0, "similar", (), 0) == [(), ()]


def test_choose_first_skips_dialogues_to_be_summarized() -> None:
    chosen = choose_exemplars(POOL, TARGETS, 2, "first", (), 0)
    assert ids(chosen[0]) == ["d1", "d2"]
    assert chosen[0] is chosen[1]


def test_choose_random_depends_on_the_seed_and_never_leaks() -> None:
    drawn = {tuple(ids(choose_exemplars(POOL, TARGETS, 2, "random", (), seed)[0])) for seed in range(80)}
    assert len(drawn) == 12  # every pair of the four that are not to be summarized, in both orders
    assert not any("d0" in one for one in drawn)
    assert all(len(set(one)) == 2 for one in drawn)
    assert choose_exemplars(POOL, TARGETS, 2, "random", (), 7) == choose_exemplars(POOL, TARGETS, 2, "random", (), 7)


LARGE_POOL = made(*(f"dialogue number {number}" for number in range(300)))
MANY_TARGETS = [Dialogue(f"t{number}", f"a talk of {number}", ("s",)) for number in range(200)]


def test_choose_random_draws_separately_for_each_dialogue_and_evenly_from_the_pool() -> None:
    chosen = choose_exemplars(LARGE_POOL, MANY_TARGETS, 3, "random", (), 42)
    assert len(set(chosen)) == 200
    shown = Counter(identity for one in chosen for identity in ids(one))
    assert 230 < len(shown) < 285  # 600 draws from 300 leave about one in e² out
    assert max(shown.values()) < 10


def test_choose_random_is_the_same_on_every_python_and_machine() -> None:
    chosen = choose_exemplars(LARGE_POOL, MANY_TARGETS[:2], 3, "random", (), 42)
    assert [ids(one) for one in chosen] == [["d25", "d42", "d256"], ["d95", "d220", "d41"]]


def test_a_random_draw_depends_only_on_the_text_of_its_dialogue() -> None:
    together = choose_exemplars(LARGE_POOL, MANY_TARGETS, 3, "random", (), 42)
    assert choose_exemplars(LARGE_POOL, MANY_TARGETS[:20], 3, "random", (), 42) == together[:20]
    assert choose_exemplars(LARGE_POOL, MANY_TARGETS[::-1], 3, "random", (), 42) == together[::-1]
    from_a_pipe = Dialogue("0", f"{MANY_TARGETS[7].dialogue}\n", ())
    assert choose_exemplars(LARGE_POOL, [from_a_pipe], 3, "random", (), 42) == [together[7]]


def test_an_excluded_dialogue_does_not_change_other_draws() -> None:
    alone = choose_exemplars(LARGE_POOL, MANY_TARGETS, 3, "random", (), 42)
    among_the_targets = choose_exemplars(LARGE_POOL, [*MANY_TARGETS, *LARGE_POOL[:10]], 3, "random", (), 42)
    barred = {one.id for one in LARGE_POOL[:10]}
    assert not any(barred & set(ids(one)) for one in among_the_targets)
    pairs = list(zip(alone, among_the_targets[:200], strict=True))
    assert all(got == before for before, got in pairs if not barred & set(ids(before)))
    assert any(got != before for before, got in pairs)


@pytest.mark.parametrize("choose", ["random", "similar"])
@pytest.mark.parametrize("seed", [0, 42])
def test_fewer_shots_are_the_last_of_more_shots(choose: Literal["random", "similar"], seed: int) -> None:
    most = choose_exemplars(LARGE_POOL, MANY_TARGETS[:30], 32, choose, (), seed)
    for shots in (1, 2, 3, 8, 31):
        fewer = choose_exemplars(LARGE_POOL, MANY_TARGETS[:30], shots, choose, (), seed)
        assert fewer == [one[-shots:] for one in most]


def test_shots_can_use_the_whole_pool() -> None:
    for one in choose_exemplars(POOL, TARGETS, 4, "random", (), 3):
        assert sorted(ids(one)) == ["d1", "d2", "d3", "d4"]


def test_ids_are_shown_in_the_order_given() -> None:
    chosen = choose_exemplars(POOL, TARGETS, 2, "ids", ["d3", "d1"], 0)
    assert ids(chosen[0]) == ["d3", "d1"]
    assert chosen[0] is chosen[1]


def test_choose_similar_shows_the_most_similar_last_and_never_the_target_itself() -> None:
    about_train, about_cat = choose_exemplars(POOL, TARGETS, 2, "similar", (), 0)
    assert about_train[-1].id == "d3"
    assert ids(about_cat) == ["d2", "d4"]


def test_equally_similar_exemplars_are_ordered_by_the_pool() -> None:
    pool = made("x y", "y x", "x  y")
    (chosen,) = choose_exemplars(pool, made("x y z"), 3, "similar", (), 0)
    assert ids(chosen) == ["d2", "d1", "d0"]
    (unrelated,) = choose_exemplars(pool, made("!"), 2, "similar", (), 0)
    assert ids(unrelated) == ["d1", "d0"]


def cosine_by_hand(pool: list[Dialogue], a: str, b: str) -> float:
    words = [set(re.findall(r"\w+", one.dialogue.lower())) for one in pool]

    def vector(text: str) -> dict[str, float]:
        counts = Counter(re.findall(r"\w+", text.lower()))
        return {
            word: count * (math.log((1 + len(pool)) / (1 + sum(word in other for other in words))) + 1)
            for word, count in counts.items()
            if any(word in other for other in words)
        }

    left, right = vector(a), vector(b)
    lengths = math.hypot(*left.values()) * math.hypot(*right.values())
    return sum(left[word] * right.get(word, 0) for word in left) / lengths if lengths else 0.0


SENTENCES = st.lists(st.sampled_from(["a", "B", "c", "dd", "e!"]), min_size=1, max_size=6).map(" ".join)


@given(st.lists(SENTENCES, min_size=3, max_size=8, unique=True), st.lists(SENTENCES, min_size=1, max_size=4))
def test_choose_similar_agrees_with_a_cosine_computed_by_hand(texts: list[str], wanted: list[str]) -> None:
    pool, targets = made(*texts), made(*wanted)
    for target, chosen in zip(targets, choose_exemplars(pool, targets, 2, "similar", (), 0), strict=True):
        others = [one for one in pool if one.dialogue != target.dialogue]
        best = sorted((cosine_by_hand(pool, target.dialogue, one.dialogue) for one in others), reverse=True)[:2]
        got = [cosine_by_hand(pool, target.dialogue, one.dialogue) for one in reversed(chosen)]
        assert got == pytest.approx(best, abs=1e-8)
        assert all(one.dialogue != target.dialogue for one in chosen)


def test_targets_beyond_one_chunk_get_the_same_exemplars_as_alone() -> None:
    targets = made(*(f"the cat {number} ran home late" for number in range(300)))
    together = choose_exemplars(POOL, targets, 2, "similar", (), 0)
    assert len(together) == 300
    assert together[299] == choose_exemplars(POOL, targets[299:], 2, "similar", (), 0)[0]


@pytest.mark.parametrize("choose", ["first", "random"])
def test_a_pool_that_is_too_small_is_reported_with_numbers(choose: Literal["first", "random"]) -> None:
    with pytest.raises(DataError, match=r"shots: 5 .*got 4 to choose from without the 1 to be summarized"):
        choose_exemplars(POOL, TARGETS, 5, choose, (), 0)


def test_choose_similar_excludes_the_target_from_the_pool_size() -> None:
    with pytest.raises(DataError, match=r"shots: 5 .*got 4 to choose from"):
        choose_exemplars(POOL, TARGETS, 5, "similar", (), 0)
    with pytest.raises(DataError, match=r"shots: 6 .*got 5 to choose from\)"):
        choose_exemplars(POOL, TARGETS[:1], 6, "similar", (), 0)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["d1"], r"exemplars.ids has 1 ids \(got shots: 2\)"),
        (["d1", "d1"], r"duplicate exemplar \(got d1\)"),
        (["d1", "d33"], r"among the 5 dialogues .*got d33, did you mean d3\?"),
        (["d1", "d0"], r"in the test data \(got d0\)"),
    ],
)
def test_invalid_exemplar_ids_are_reported(named: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_exemplars(POOL, TARGETS, 2, "ids", named, 0)


def test_choose_similar_works_in_scripts_without_spaces():
    texts = ["我想退货，鞋子太小了。", "明天的会议改到星期五了。", "请问图书馆几点关门？"]
    pool = [Dialogue(str(place), text, ("x",)) for place, text in enumerate(texts)]
    targets = [Dialogue("t", "会议是不是改到星期五？", ("x",)), Dialogue("u", "这双鞋子太大，可以退货吗？", ("x",))]
    assert [chosen[0].id for chosen in choose_exemplars(pool, targets, 1, "similar", (), 0)] == ["1", "0"]
