"""Objects go over the line whole, and each side sees when the other one has gone."""

import socket

import pytest

from summtune.launchers.line import Line


@pytest.fixture
def ends():
    server = socket.create_server(("127.0.0.1", 0))
    one = Line(socket.create_connection(server.getsockname()))
    other = Line(server.accept()[0])
    server.close()
    yield one, other
    one.close()
    other.close()


def test_objects_arrive_one_by_one_in_their_order(ends):
    one, other = ends
    assert other.received() == []
    one.send({"a": 1})
    one.send({"b": "ü\n"})
    assert other.next(5) == {"a": 1}
    assert other.next(5) == {"b": "ü\n"}
    assert other.next(0.01) is None
    other.look()


def test_half_an_object_waits_for_the_rest(ends):
    one, other = ends
    one.connection.sendall(b'{"a"')
    assert other.next(0.2) is None
    one.connection.sendall(b": 1}\n[2]\n")
    assert other.next(5) == {"a": 1}
    assert other.next(0.2) is None, "a list is no message"


def test_what_was_said_before_the_end_is_heard(ends):
    one, other = ends
    one.send({"a": 1})
    one.close()
    other.look()
    assert other.received() == [{"a": 1}]
    for look in (other.received, other.look):
        with pytest.raises(ConnectionError):
            look()
    assert other.next(5) is None
    other.send({"nobody": "hears it"})
    other.send({"nobody": "hears it"})


def test_a_stranger_who_speaks_otherwise_is_as_good_as_gone(ends):
    one, other = ends
    one.connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert other.next(5) is None
