import asyncio
import time

from summtune.generation.endpoint.rate import Pause, RollingLimit


async def times_of(limit, amounts):
    began = time.monotonic()
    found = []
    for amount in amounts:
        await limit.take(amount)
        found.append(time.monotonic() - began)
    return found


def test_no_window_holds_more_than_the_limit():
    found = asyncio.run(times_of(RollingLimit(4, seconds=0.3), [1] * 10))
    assert found[3] < 0.2
    for at in range(len(found) - 4):
        assert found[at + 4] - found[at] >= 0.299


def test_more_than_the_limit_passes_alone():
    found = asyncio.run(times_of(RollingLimit(4, seconds=0.2), [1, 100, 1]))
    assert found[1] >= 0.199
    assert found[2] - found[1] >= 0.199


def test_what_was_taken_too_much_is_given_back():
    async def run():
        limit = RollingLimit(10, seconds=30)
        taken = await limit.take(10)
        limit.correct(taken, 2)
        await asyncio.wait_for(limit.take(8), 1)

    asyncio.run(run())


def test_without_a_limit_nothing_waits():
    assert asyncio.run(times_of(RollingLimit(None), [1000] * 50))[-1] < 1


def test_a_pause_holds_everyone_and_can_only_become_longer():
    async def run():
        pause = Pause()
        began = time.monotonic()
        await pause.over()
        assert pause.extend(0.3)
        assert not pause.extend(0.1)
        await asyncio.gather(*(pause.over() for _ in range(5)))
        return time.monotonic() - began

    assert 0.3 <= asyncio.run(run()) < 2
