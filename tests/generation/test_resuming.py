import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest
from made_up_outputs import Paired, Shouting, output

from summtune.base.errors import StageError
from summtune.generation.distinct import DistinctPrompts, key_of
from summtune.generation.partial import appending, read_outputs
from summtune.generation.resuming import World, generate_missing

TEXTS = ["one", "two", "one", "three"]


def texts(folder):
    return {key: found.text for key, found in read_outputs(folder).items()}


def shouted(*prompts):
    return {key_of(prompt): prompt.upper() for prompt in prompts}


def silent(done, total):
    pass


def test_each_distinct_prompt_is_generated_once(tmp_path):
    generator = Shouting()
    generate_missing(generator, DistinctPrompts.of(TEXTS), tmp_path / "partial", silent)
    assert sorted(generator.asked) == ["one", "three", "two"]
    assert texts(tmp_path / "partial") == shouted("one", "two", "three")


def test_outputs_before_a_failure_are_kept_and_only_the_others_are_asked_for_again(tmp_path):
    asked = DistinctPrompts.of(TEXTS)
    with pytest.raises(StageError, match=r"no answer \(got two\); try again"):
        generate_missing(Shouting(refused="two"), asked, tmp_path, silent)
    assert texts(tmp_path) == shouted("three")
    again = Shouting()
    generate_missing(again, asked, tmp_path, silent)
    assert sorted(again.asked) == ["one", "two"]
    assert texts(tmp_path) == shouted("one", "two", "three")


def test_an_output_cut_short_by_a_kill_is_generated_again(tmp_path):
    asked = DistinctPrompts.of(TEXTS)
    generate_missing(Shouting(), asked, tmp_path, silent)
    path = tmp_path / "rank0.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-5])
    again = Shouting()
    generate_missing(again, asked, tmp_path, silent)
    assert again.asked == ["one"]  # Shouting generates it last
    assert path.read_text() == whole


def test_an_output_that_is_known_is_kept_where_the_generator_yields_it_again(tmp_path):
    with appending(tmp_path, 0) as append:
        append(key_of("a"), output("as it was"))
    generate_missing(Paired(World()), DistinctPrompts.of("abcd"), tmp_path, silent)
    assert sorted(texts(tmp_path).values()) == ["as it was", "b by 0", "c by 0", "d by 0"]
    assert (tmp_path / "rank0.jsonl").read_text().count("\n") == 4


def test_outputs_of_a_run_on_more_ranks_are_used_by_one_on_fewer(tmp_path):
    with appending(tmp_path, 7) as append:
        append(key_of("one"), output("by rank 7"))
    generator = Shouting()
    generate_missing(generator, DistinctPrompts.of(TEXTS), tmp_path, silent)
    assert sorted(generator.asked) == ["three", "two"]


def test_progress_counts_what_was_known_and_ends_at_the_total(tmp_path):
    with appending(tmp_path, 0) as append:
        append(key_of("one"), output())
    counted = []
    generate_missing(Shouting(), DistinctPrompts.of(TEXTS), tmp_path, lambda *numbers: counted.append(numbers))
    assert counted == [(1, 3), (2, 3), (3, 3)]


def test_a_rank_that_writes_all_outputs_reports_the_total_once(tmp_path):
    counted = []
    asked, world = DistinctPrompts.of(TEXTS), World(0, 2)
    generate_missing(Shouting(), asked, tmp_path, lambda *numbers: counted.append(numbers), world)
    assert counted == [(0, 3), (2, 3), (3, 3)]


def test_ranks_share_the_work_and_return_when_all_have_written(tmp_path):
    asked, barrier = DistinctPrompts.of("abcdefg"), threading.Barrier(2, timeout=20)
    (tmp_path / "rank1.jsonl").write_text('{"key": "cut sh')
    counted, seen = {0: [], 1: []}, []

    def run(rank):
        world = World(rank, 2, barrier.wait)
        generate_missing(Paired(world), asked, tmp_path, lambda *numbers: counted[rank].append(numbers), world)
        seen.append(texts(tmp_path))

    with ThreadPoolExecutor(2) as ranks:
        list(ranks.map(run, range(2)))
    expected = {key_of(letter): f"{letter} by {'abcdefg'.index(letter) // 2 % 2}" for letter in "abcdefg"}
    assert seen == [expected, expected]
    assert counted == {0: [(0, 7), (2, 7), (4, 7), (6, 7), (7, 7)], 1: [(0, 7), (2, 7), (4, 7), (6, 7)]}


def test_a_generator_with_concurrent_requests_fits_the_interface(tmp_path):
    """What an API needs: prompts are texts, answers come in any order, and one that came is never paid for twice."""
    paid = []

    class Api:
        def generate(self, prompts, done=()):
            with ThreadPoolExecutor(4) as requests:
                sent = {requests.submit(self.ask, text): at for at, text in enumerate(prompts) if at not in done}
                for answer in as_completed(sent):
                    yield sent[answer], answer.result()

        def ask(self, text):
            paid.append(text)
            if text == "13" and paid.count("13") == 1:
                raise StageError("HTTP 500 (got dialogue 13); try again")
            return output(f"answer to {text}", prompt_tokens=len(text))

    asked = DistinctPrompts.of([str(number % 20) for number in range(40)])
    with pytest.raises(StageError, match="HTTP 500"):
        generate_missing(Api(), asked, tmp_path, silent)
    kept = texts(tmp_path)
    generate_missing(Api(), asked, tmp_path, silent)
    assert texts(tmp_path) == {key_of(str(number)): f"answer to {number}" for number in range(20)}
    assert all(paid.count(text.removeprefix("answer to ")) == 1 for text in kept.values())
