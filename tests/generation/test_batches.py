from summtune.generation.batches import batches_of_like_length


def batches(prompts, size):
    return [[prompts[index] for index in batch] for batch in batches_of_like_length(prompts, size)]


def test_the_longest_prompts_come_first():
    prompts = [[3, 1], [3, 4, 5, 1], [2, 1], [9, 9, 1]]
    assert batches(prompts, 2) == [[[3, 4, 5, 1], [9, 9, 1]], [[2, 1], [3, 1]]]


def test_batches_do_not_depend_on_the_order_of_the_prompts():
    prompts = [[*range(length), 1] for length in (3, 9, 4, 7)] + [[5, 5, 5, 5, 1]]
    assert batches(prompts, 2) == batches(prompts[::-1], 2)


def test_no_prompts_have_no_batches():
    assert batches_of_like_length([], 2) == []
