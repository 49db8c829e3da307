"""A real server that is told to end while it serves, over TLS."""

import datetime
import ipaddress
import os
import signal
import ssl

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from amusd import Client, SamplingParams, UnavailableError
from tests.serving.conftest import served


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of this machine, signed by its own key; and the key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
    authority = x509.BasicConstraints(ca=True, path_length=None)
    signed = builder.add_extension(address, False).add_extension(authority, True).sign(key, hashes.SHA256())
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(signed.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


def test_sigterm_lets_live_requests_finish_refuses_new_ones_and_leaves_nothing_with_tls_too(certificate):
    cert, key = certificate
    tls = ("--ssl-certfile", str(cert), "--ssl-keyfile", str(key))
    trust = ssl.create_default_context(cafile=str(cert))
    with (
        served("--mode", "alone", "--max-requests", "2", *tls) as running,
        Client(running.grpc, tls=cert) as client,
        httpx.Client(base_url=running.http.replace("http:", "https:"), verify=trust) as web,
    ):
        pid = client.info()["workers"]["target"]["pid"]
        params = SamplingParams(temperature=0, max_tokens=120, ignore_eos=True)
        stream = client.stream("class A:", params)
        assert next(stream).token_ids
        with Client(running.grpc, retries=False) as plain, pytest.raises(UnavailableError):
            plain.info()
        running.process.send_signal(signal.SIGTERM)
        while web.get("/health").status_code == 200:
            pass
        late = Client(running.grpc, tls=cert, retries=False)
        with late, pytest.raises(UnavailableError, match="draining"):
            late.generate("a")
        assert list(stream)[-1].finished.finish_reason == "length"
        assert running.process.wait(timeout=30) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
