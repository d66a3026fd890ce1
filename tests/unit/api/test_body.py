from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest

from airflow_provider_trigger.api import responses as module
from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.errors import OversizeError, TransportError
from airflow_provider_trigger.api.responses import Body

LIMIT = 1000
REQUEST = retrieve_run("run_1").request


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY_BYTES", LIMIT)


@pytest.fixture
def read() -> Callable[..., bytes]:
    """Read a body that arrives in pieces of three bytes."""

    def read(sent: bytes, **headers: str) -> bytes:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = Body(REQUEST, "GET somewhere", named)
        for at in range(0, len(sent), 3):
            body.add(sent[at : at + 3])
        return body.content()

    return read


@pytest.mark.parametrize("encoding", ["", "identity", "aws-chunked", "deflate", "br"])
def test_what_is_not_compressed_as_requested_stays_as_it_is(read, encoding: str) -> None:
    assert read(b"abcdefgh", content_encoding=encoding) == b"abcdefgh"


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZip "])
def test_gzip_is_decompressed_and_nothing_stays_nothing(read, encoding: str) -> None:
    assert read(gzip.compress(b"abcdefgh"), content_encoding=encoding) == b"abcdefgh"
    assert read(b"", content_encoding=encoding) == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"no gzip at all",
        zlib.compress(b"abc"),
        gzip.compress(b"abc")[:-1],
        gzip.compress(b"abc") + b"more",
        gzip.compress(b"abc")[:-5] + b"\0\0\0\0\0",
    ],
    ids=["text", "zlib", "cut", "longer", "wrong size"],  # what gzip writes has the time in it
)
def test_what_cannot_be_decompressed_whole_may_be_so_next_time(read, sent: bytes) -> None:
    with pytest.raises(TransportError) as raised:
        read(sent, content_encoding="gzip")
    assert str(raised.value) == "GET somewhere: the answer cannot be decompressed"
    assert raised.value.reason == "the answer cannot be decompressed"
    assert raised.value.retryable
    assert raised.value.__context__ is None


@pytest.mark.parametrize("compressed", [False, True])
def test_the_limit_itself_is_read_and_one_byte_more_is_not(read, compressed: bool) -> None:
    pack, encoding = (gzip.compress, "gzip") if compressed else (bytes, "")
    assert len(read(pack(bytes(LIMIT)), content_encoding=encoding)) == LIMIT
    with pytest.raises(OversizeError) as raised:
        read(pack(bytes(LIMIT + 1)), content_encoding=encoding)
    assert raised.value.size is None
    assert not raised.value.retryable


def test_what_is_announced_as_too_long_is_not_read_at_all() -> None:
    Body(REQUEST, "", {"content-length": str(LIMIT)})
    with pytest.raises(OversizeError) as raised:
        Body(REQUEST, "", {"content-length": str(LIMIT + 1)})
    assert raised.value.size == LIMIT + 1


@pytest.mark.parametrize("length", ["", "-1", "5, 5", "1e9", "\xb2", "9" * 9999])
def test_a_length_that_is_no_number_says_nothing(read, length: str) -> None:
    assert read(b"abc", content_length=length) == b"abc"


def test_the_compressed_length_says_nothing_of_the_size(read) -> None:
    assert read(gzip.compress(b"abc"), content_length="99999", content_encoding="gzip") == b"abc"
