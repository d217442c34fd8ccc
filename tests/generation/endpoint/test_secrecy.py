"""The API key is sent, and is nowhere else."""

import base64
import logging
import traceback
from urllib.parse import quote

import pytest
from endpoint_runs import KEY, Run
from misbehaving_server import MisbehavingServer, Reply, always, answer, error, once

from summtune.base.errors import InputError, StageError
from summtune.generation.endpoint.secrecy import REPLACEMENT, Secret, read_key

SPECIAL = "sk+proj/abc=DEF&ghi\"'<%>"


def test_the_key_is_read_from_the_variable_that_the_recipe_names():
    assert read_key(None, {"OPENAI_API_KEY": KEY}) is None
    assert read_key("MY_KEY", {"MY_KEY": f"{KEY}\n"}) == KEY


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", r"is missing \(got no value of the environment variable MY_KEY\); set it"),
        ("two words here", r"got blanks or others beyond ASCII in MY_KEY"),
        ("schlüssel-schlüssel", r"got blanks or others beyond ASCII in MY_KEY"),
        ("EMPTY", r"too short to be kept out of texts \(got 5 characters in MY_KEY\); leave out endpoint.api_key_env"),
    ],
)
def test_a_value_that_cannot_be_a_key_is_refused_and_not_shown(value, message):
    with pytest.raises(InputError, match=message) as caught:
        read_key("MY_KEY", {"MY_KEY": value})
    assert not value or value not in str(caught.value)


def encodings(key):
    yield key
    yield f"Bearer {key}"
    yield quote(key, safe="")
    for before in ("", "a", "ab", "Bearer ", ":"):
        yield base64.b64encode(f"{before}{key}:more".encode()).decode()
        yield base64.urlsafe_b64encode(f"{before}{key}".encode()).decode()
    yield key.encode().hex()


@pytest.mark.parametrize("key", [KEY, SPECIAL])
def test_the_key_is_replaced_in_every_encoding(key):
    secret = Secret(key)
    middle = base64.b64encode(key.encode())[4:-8].decode()
    for text in encodings(key):
        for clean in (secret.without(f"x {text} y"), secret.hidden(f"x {text} y")):
            assert REPLACEMENT in clean
            assert key not in clean
            assert middle not in clean


def test_a_message_does_not_show_parts_of_the_key_and_an_answer_keeps_its_words():
    secret = Secret(KEY)
    assert secret.hidden(f"Incorrect key: {KEY[:12]}*****{KEY[-4:]}.") == f"Incorrect key: {REPLACEMENT}*****IJKL."
    assert secret.without(f"They talk about {KEY[:8]}.") == f"They talk about {KEY[:8]}."
    assert Secret(None).hidden("as it is") == Secret(None).without("as it is") == "as it is"


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def echoed(status, header=False):
    text = f"key {KEY}, {quote(KEY)}, Bearer {KEY}, {base64.b64encode(f'Bearer {KEY}'.encode()).decode()}"
    return error(status, text, headers={"x-key": KEY} if header else {})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_a_key_that_the_server_echoes_in_an_error_is_shown_nowhere(tmp_path, capfd, caplog, status):
    run = Run(tmp_path, ["one"])
    caplog.set_level(logging.DEBUG)
    with (
        MisbehavingServer(always(echoed(status, header=True)), models=[KEY]) as server,
        pytest.raises(StageError) as caught,
    ):
        run.predict(server, key=KEY, max_retries=1, api_key_env="MY_KEY")
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    shown = [str(one) for one in chain(caught.value)] + traceback.format_exception(caught.value)
    everything = [*shown, *run.files.values(), *run.said, caplog.text, *capfd.readouterr()]
    assert any(REPLACEMENT in text for text in shown)
    assert [text for text in everything for part in parts_of(KEY) if part in text] == []


def parts_of(key):
    return [
        *(key[at : at + 10] for at in range(len(key) - 9)),
        base64.b64encode(f"Bearer {key}".encode()).decode()[16:32],
    ]


def test_a_key_that_the_server_echoes_in_an_answer_is_replaced_counted_and_stored_nowhere(tmp_path, capfd, caplog):
    run = Run(tmp_path, ["one", "two"])
    caplog.set_level(logging.DEBUG)
    body = answer(f"<think>{KEY}</think>The key is {KEY}.", model=f"m-{KEY}", system_fingerprint=KEY)
    with MisbehavingServer(once(Reply(b"{" + KEY.encode(), 200))) as server:
        server.behave = lambda prompt, number: Reply(body) if number > 1 else Reply(b"{" + KEY.encode())
        run.predict(server, key=KEY)
    assert run.predictions[0].prediction == f"The key is {REPLACEMENT}."
    assert run.stats.endpoint.keys_replaced == 2
    assert any("2 of 2 answers contained the API key" in text for text in run.said)
    everything = [*run.files.values(), *run.said, caplog.text, *capfd.readouterr()]
    assert [text for text in everything if KEY in text] == []


def test_without_a_key_none_is_sent_whichever_the_environment_holds(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with MisbehavingServer() as server:
        Run(tmp_path, ["one"]).predict(server)
    assert "authorization" not in server.headers[0]
    assert KEY not in str(server.headers)
