"""Connections: encrypted ones, proxies, and what libraries log."""

import logging
import os
import shutil
import ssl
import subprocess
import sys

import pytest
from endpoint_runs import KEY, Run
from misbehaving_server import MisbehavingServer

from summtune.base.errors import StageError
from summtune.generation.endpoint.client import quiet_libraries


@pytest.fixture
def certificate(tmp_path):
    """A certificate of 127.0.0.1 that nobody has signed, and the context of a server with it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    path, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *made.split(), "-keyout", key, "-out", path], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    return path, context


def test_an_encrypted_server_is_asked_where_its_certificate_is_trusted(tmp_path, certificate, monkeypatch):
    path, context = certificate
    run = Run(tmp_path / "run", ["one"])
    with MisbehavingServer(tls=context) as server:
        with pytest.raises(StageError, match=r"is not trusted \(got .*CERTIFICATE_VERIFY_FAILED.*set SSL_CERT_FILE"):
            run.predict(server, key=KEY)
        assert server.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        run.predict(server, key=KEY)
    assert server.asked == ["one"]


def test_requests_go_through_the_proxy_that_the_environment_names(tmp_path, monkeypatch):
    with MisbehavingServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        for name in ("http_proxy", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        Run(tmp_path, ["one"]).predict("http://server.invalid/v1")
    assert proxy.asked == ["one"]
    assert proxy.headers[0]["host"] == "server.invalid"


def test_a_proxy_that_cannot_be_used_is_reported_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "gopher://user:pass-word@127.0.0.1:9")
    monkeypatch.delenv("http_proxy", raising=False)
    with pytest.raises(StageError, match=r"cannot be sent \(got .*proxies that the environment names") as caught:
        Run(tmp_path, ["one"]).predict("http://server.invalid/v1")
    assert "pass-word" not in str(caught.value)


def test_the_account_that_the_environment_names_is_not_sent(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "authorization: Bearer other\nopenai-organization: org-2\nX-Team: a")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    with MisbehavingServer() as server:
        Run(tmp_path / "key", ["one"]).predict(server, key=KEY)
        Run(tmp_path / "none", ["one"]).predict(server)
    for headers, authorization in zip(server.headers, (f"Bearer {KEY}", None), strict=True):
        assert headers.keys() & {"openai-organization", "openai-project", "x-team"} == set()
        assert headers.get("authorization") == authorization


def test_libraries_log_nothing_where_the_environment_asks_for_it():
    program = (
        "import logging\n"
        "from summtune.generation.endpoint.client import quiet_libraries\n"
        "with quiet_libraries():\n"
        "    import openai\n"
        "    print([logging.getLogger(name).isEnabledFor(logging.INFO) for name in ('openai', 'httpx')])\n"
    )
    environment = os.environ | {"OPENAI_LOG": "debug"}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[False, False]"


def test_libraries_log_no_requests_and_have_their_levels_back_afterwards():
    logger = logging.getLogger("httpcore")
    before = logger.level
    with quiet_libraries():
        assert not logging.getLogger("httpcore.http11").isEnabledFor(logging.DEBUG)
        assert not logging.getLogger("openai._base_client").isEnabledFor(logging.INFO)
    assert logger.level == before
