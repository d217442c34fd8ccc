import pytest

from summtune.base.errors import RunDirectoryError
from summtune.generation.endpoint.ledger import ANSWERED, LEDGER_FILE, NOTHING, Tokens, ledger_in


def test_what_was_sent_is_known_to_the_next_attempt(tmp_path):
    with ledger_in(tmp_path) as ledger:
        first, second, third = (ledger.send(Tokens(100, 10)) for _ in range(3))
        ledger.end(second, "rate limit", NOTHING)
        ledger.end(first, ANSWERED, Tokens(20, 5))
        ledger.end(third, "timeout", Tokens(100, 10))
        ledger.send(Tokens(7, 1))  # a kill
    with ledger_in(tmp_path) as ledger:
        assert ledger.sent == 4
        assert ledger.charged == Tokens(127, 16)
        assert ledger.retries == {"rate limit": 1, "timeout": 1, "interrupted": 1}
        assert ledger.unanswered == 2
        assert ledger.send(Tokens(1, 1)) == 5


def test_a_request_is_on_the_disk_before_it_is_sent(tmp_path):
    with ledger_in(tmp_path) as ledger:
        ledger.send(Tokens(100, 10))
        assert (tmp_path / LEDGER_FILE).read_text() == '{"request": 1, "prompt_tokens": 100, "new_tokens": 10}\n'


def test_a_damaged_ledger_is_refused(tmp_path):
    (tmp_path / LEDGER_FILE).write_text('{"request": "one"}\n')
    with pytest.raises(RunDirectoryError, match=r"requests\.jsonl, line 1: request: .*got 'one'"), ledger_in(tmp_path):
        pass


def test_without_a_folder_nothing_is_kept():
    with ledger_in(None) as ledger:
        ledger.end(ledger.send(Tokens(1, 1)), ANSWERED, Tokens(1, 1))
        assert ledger.charged == Tokens(1, 1)
