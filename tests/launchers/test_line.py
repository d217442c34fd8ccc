"""Objects arrive complete, and each side detects that the other has disconnected."""

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


def test_an_incomplete_object_is_returned_once_it_is_complete(ends):
    one, other = ends
    one.connection.sendall(b'{"a"')
    assert other.next(0.2) is None
    one.connection.sendall(b": 1}\n[2]\n")
    assert other.next(5) == {"a": 1}
    assert other.next(0.2) is None, "a list is not a message"


def test_objects_sent_before_a_disconnection_are_received(ends):
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


def test_data_that_is_not_json_ends_the_connection(ends):
    one, other = ends
    one.connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert other.next(5) is None
