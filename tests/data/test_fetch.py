"""Downloads: resumed, retried, verified, and whole or not there."""

import hashlib
from pathlib import Path

import pytest

from tests.data.server import Server
from vaelab.config import UserError
from vaelab.data.fetch import MIRROR_VARIABLE, Fetcher, digest_is, mirror_urls

CONTENT = bytes(range(256)) * 1200  # 307,200 bytes, several blocks
IS_CONTENT = digest_is("SHA-256", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "file.bin"


@pytest.fixture
def fetch(tmp_path: Path) -> Fetcher:
    return Fetcher("source", (), tmp_path / "partial", pause_s=0.001, timeout_s=5.0)


def left_over(fetch: Fetcher) -> list[Path]:
    return sorted(fetch.partial_folder.iterdir())


def test_gets_a_file(server: Server, fetch: Fetcher, target: Path):
    server.files["/file.bin"] = CONTENT
    fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    assert target.read_bytes() == CONTENT
    assert fetch.used == {"file.bin": f"{server.url}/file.bin"}
    assert left_over(fetch) == []
    assert list(target.parent.iterdir()) == [target]


def test_gets_a_file_url(tmp_path: Path, fetch: Fetcher, target: Path):
    (tmp_path / "there.bin").write_bytes(CONTENT)
    missing = (tmp_path / "missing.bin").as_uri()
    fetch(target, [missing, (tmp_path / "there.bin").as_uri()], IS_CONTENT)
    assert target.read_bytes() == CONTENT


def test_mirrors_come_before_official_hosts(server: Server, fetch: Fetcher, target: Path):
    server.files = {"/mirror/source/file.bin": CONTENT, "/official/file.bin": CONTENT}
    mirrored = Fetcher("source", (f"{server.url}/mirror",), fetch.partial_folder)
    mirrored(target, [f"{server.url}/official/file.bin"], IS_CONTENT)
    assert [path for path, _ in server.requests] == ["/mirror/source/file.bin"]


def test_resumes_after_a_cut(server: Server, fetch: Fetcher, target: Path):
    server.files["/file.bin"] = CONTENT
    server.cuts = [100_000, 50_000]
    fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    assert target.read_bytes() == CONTENT
    assert server.ranges_asked() == [None, "bytes=100000-", "bytes=150000-"]


def test_progress_is_never_given_up(server: Server, fetch: Fetcher, target: Path):
    server.files["/file.bin"] = CONTENT
    server.cuts = [30_000] * 10
    fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 11


def test_a_later_process_resumes(server: Server, fetch: Fetcher, target: Path):
    server.files["/file.bin"] = CONTENT
    server.cuts = [100_000]
    _cut_then_gone(server, fetch, target)
    assert not target.exists()
    server.requests.clear()
    fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    assert target.read_bytes() == CONTENT
    assert server.ranges_asked() == ["bytes=100000-"]


def test_a_server_without_ranges_starts_afresh(server: Server, fetch: Fetcher, target: Path):
    server.files["/file.bin"] = CONTENT
    server.ranges = False
    server.cuts = [100_000]
    fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_server_without_versions_is_not_resumed(server: Server, fetch: Fetcher, target: Path):
    server.files["/file.bin"] = CONTENT
    server.version = None
    server.cuts = [100_000]
    fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    assert target.read_bytes() == CONTENT
    assert server.ranges_asked() == [None, None]


@pytest.mark.parametrize("honours_if_range", [True, False])
def test_a_file_that_changed_starts_afresh(
    server: Server, fetch: Fetcher, target: Path, honours_if_range: bool
):
    server.files["/file.bin"] = bytes(len(CONTENT))
    server.cuts = [100_000]
    _cut_then_gone(server, fetch, target)
    server.files["/file.bin"] = CONTENT
    server.version = '"2"'
    server.honours_if_range = honours_if_range
    fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    assert target.read_bytes() == CONTENT


def test_a_wrong_range_starts_afresh(server: Server, fetch: Fetcher, target: Path):
    server.files["/file.bin"] = CONTENT
    server.cuts = [100_000]
    server.range_shift = 7
    fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    assert target.read_bytes() == CONTENT
    assert server.ranges_asked() == [None, "bytes=100000-", None]


def test_a_partial_file_that_is_too_long_starts_afresh(
    server: Server, fetch: Fetcher, target: Path
):
    server.files["/file.bin"] = CONTENT + b"more"
    server.cuts = [len(CONTENT) + 2]
    _cut_then_gone(server, fetch, target)
    server.files["/file.bin"] = CONTENT
    fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    assert target.read_bytes() == CONTENT


def test_corrupted_content_is_refused(server: Server, fetch: Fetcher, target: Path):
    server.files = {"/bad.bin": CONTENT[:-1] + b"!", "/good.bin": CONTENT}
    fetch(target, [f"{server.url}/bad.bin", f"{server.url}/good.bin"], IS_CONTENT)
    assert target.read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/bad.bin", "/good.bin"]


def test_an_error_names_every_url_and_its_reason(server: Server, fetch: Fetcher, target: Path):
    server.files = {"/bad.bin": b"<html>"}
    urls = [f"{server.url}/gone.bin", f"{server.url}/bad.bin"]
    expected = (
        r"gone\.bin: HTTP Error 404: Not Found; .*bad\.bin: refused: 6 bytes with SHA-256 \w+, "
        r"which should be \w+\. Check the network, or name a mirror that has source/file\.bin"
    )
    with pytest.raises(UserError, match=expected) as caught:
        fetch(target, urls, IS_CONTENT)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    assert left_over(fetch) == []


def test_a_missing_file_is_not_asked_for_again(server: Server, fetch: Fetcher, target: Path):
    server.files["/good.bin"] = CONTENT
    fetch(target, [f"{server.url}/gone.bin", f"{server.url}/good.bin"], IS_CONTENT)
    assert [path for path, _ in server.requests] == ["/gone.bin", "/good.bin"]


@pytest.mark.parametrize("failures", [[0], [503, 0, 500], [429]])
def test_passing_failures_are_retried(
    server: Server, fetch: Fetcher, target: Path, failures: list[int]
):
    server.files["/file.bin"] = CONTENT
    expected = len(failures) + 1
    server.failures = failures
    fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == expected


def test_lasting_failures_are_given_up(server: Server, fetch: Fetcher, target: Path):
    server.failures = [503] * 100
    with pytest.raises(UserError, match="HTTP Error 503"):
        fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    assert len(server.requests) == fetch.attempts


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/file.bin", "no-url", "http://a b/c"])
def test_an_impossible_url_is_an_error(
    monkeypatch: pytest.MonkeyPatch, fetch: Fetcher, target: Path, url: str
):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError, match=f"could not be downloaded: {url}: .+Check the network"):
        fetch(target, [url], IS_CONTENT)


def test_a_good_file_is_kept_and_a_bad_one_replaced(server: Server, fetch: Fetcher, target: Path):
    server.files["/file.bin"] = CONTENT
    target.parent.mkdir()
    target.write_bytes(b"bad")
    for _ in range(2):
        fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_mirrors_of_the_environment_come_first(tmp_path: Path):
    assert mirror_urls({}, None) == ()
    assert mirror_urls({MIRROR_VARIABLE: ""}, "http://b/") == ("http://b",)
    assert mirror_urls({MIRROR_VARIABLE: "https://a/x/"}, "file:///b") == (
        "https://a/x",
        "file:///b",
    )
    folder = tmp_path / "with space"
    folder.mkdir()
    assert mirror_urls({MIRROR_VARIABLE: str(folder)}, None) == (f"file://{tmp_path}/with%20space",)


@pytest.mark.parametrize("value", ["ftp://host", "/no/such/folder", "mirror.example"])
def test_a_mirror_is_a_url_or_a_folder(value: str):
    with pytest.raises(UserError, match=f"{MIRROR_VARIABLE}: '{value}' is neither .* nor an exist"):
        mirror_urls({MIRROR_VARIABLE: value}, None)


def _cut_then_gone(server: Server, fetch: Fetcher, target: Path) -> None:
    """Make a download stop for good after the server's one cut."""
    served = server.files
    server.files = _OnceOnly(served)
    with pytest.raises(UserError, match="404"):
        fetch(target, [f"{server.url}/file.bin"], IS_CONTENT)
    server.files = dict(served)


class _OnceOnly(dict[str, bytes]):
    """Files that are gone once they have been sent."""

    def __getitem__(self, name: str) -> bytes:
        return self.pop(name)
