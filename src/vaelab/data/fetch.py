"""Download a file from the first of several URLs that works: resumed, retried, verified, atomic."""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
import urllib.response
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

from tqdm import tqdm

from vaelab.config import UserError
from vaelab.runtime.files import flush

MIRROR_VARIABLE = "VAELAB_DATA_MIRROR"
Verify = Callable[[Path], str | None]
"""Return what is wrong with a file and what would be right, or None for a good one."""

_RETRIED_STATUS = {408, 416, 425, 429}
_BLOCK_BYTES = 2**16
_Response = http.client.HTTPResponse | urllib.response.addinfourl


class _DownloadFailedError(Exception):
    """The download from one URL failed for good."""


@dataclass(frozen=True)
class Fetcher:
    """Download a source's files: from `<mirror>/<source>/<file name>` first, then official hosts.

    `used` collects the URL that each file came from, by file name.
    """

    source: str
    mirrors: tuple[str, ...]
    partial_folder: Path
    used: dict[str, str] = field(default_factory=dict)
    attempts: int = 4
    pause_s: float = 0.5
    timeout_s: float = 30.0

    def __call__(self, target: Path, official: Sequence[str], verify: Verify) -> None:
        """Download `target`, unless it is there and `verify` accepts it.

        Raises UserError, with the reason for each URL, if all fail.
        """
        if target.is_file() and verify(target) is None:
            return
        failures = []
        for url in (
            *(f"{mirror}/{self.source}/{target.name}" for mirror in self.mirrors),
            *official,
        ):
            try:
                partial = self._download(url, target.name, verify)
            except _DownloadFailedError as error:
                failures.append(f"{url}: {error}")
                continue
            _publish(partial, target)
            self.used[target.name] = url
            return
        tried = "; ".join(failures) or "there is no URL to try"
        raise UserError(
            f"{target.name} could not be downloaded: {tried}. Check the network, or name a "
            f"mirror that has {self.source}/{target.name} in data.mirror or {MIRROR_VARIABLE}"
        )

    def _download(self, url: str, name: str, verify: Verify) -> "_Partial":
        partial = _Partial.of(url, name, self.partial_folder)
        most = partial.size
        idle = 0
        while True:
            try:
                resumed = _transfer(url, partial, self.timeout_s)
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = _explain(error)
                # a transfer that makes progress may be retried as long as it does
                idle = idle + 1 if partial.size <= most else 0
                most = max(most, partial.size)
                if _is_final(url, error, partial) or idle >= self.attempts:
                    raise _DownloadFailedError(reason) from error
                time.sleep(self.pause_s * 2**idle)
                continue
            problem = verify(partial.path)
            if problem is None:
                return partial
            partial.discard()
            if not resumed:
                raise _DownloadFailedError(f"refused: {problem}")


@dataclass(frozen=True)
class _Partial:
    """A partly downloaded file, and the HTTP validator of its version."""

    path: Path
    validator: Path

    @classmethod
    def of(cls, url: str, name: str, folder: Path) -> "_Partial":
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
        return cls(folder / f"{stem}.part", folder / f"{stem}.version")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def resume_headers(self) -> dict[str, str]:
        if not self.size or not self.validator.exists():
            return {}
        version = self.validator.read_text(encoding="latin-1")
        return {"Range": f"bytes={self.size}-", "If-Range": version}

    def start_over(self, headers: Message) -> None:
        self.discard()
        tag = headers.get("ETag", "")
        version = tag if tag.startswith('"') else headers.get("Last-Modified", "")
        if version:
            self.validator.write_text(version, encoding="latin-1")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)


def mirror_urls(environment: Mapping[str, str], setting: str | None) -> tuple[str, ...]:
    """Return the mirrors to try: that of the environment first, then `data.mirror`.

    The variable may also be the path of a folder. Raises UserError for anything else.
    """
    given = environment.get(MIRROR_VARIABLE)
    return tuple(
        url.rstrip("/") for url in (_as_url(given) if given else None, setting) if url is not None
    )


def digest_is(algorithm: str, expected: str) -> Verify:
    """Return a check for a file's digest, such as MD5 or SHA-256."""

    def verify(path: Path) -> str | None:
        with path.open("rb") as file:
            return wrong_digest(file.read, algorithm, expected)

    return verify


def wrong_digest(read: Callable[[int], bytes], algorithm: str, expected: str) -> str | None:
    """Return what is wrong with the digest of some content, or None."""
    digest = hashlib.new(algorithm.replace("-", ""), usedforsecurity=False)
    size = 0
    while block := read(2**20):
        digest.update(block)
        size += len(block)
    actual = digest.hexdigest()
    if actual == expected:
        return None
    return f"{size:,} bytes with {algorithm} {actual}, which should be {expected}"


def _as_url(value: str) -> str:
    if re.match(r"(https?|file)://", value):
        return value
    if Path(value).is_dir():
        return Path(value).resolve().as_uri()
    raise UserError(
        f"{MIRROR_VARIABLE}: {value!r} is neither an http://, https:// or file:// URL "
        "nor an existing folder"
    )


def _transfer(url: str, partial: _Partial, timeout_s: float) -> bool:
    """Download the rest of a partial file; return whether its first part was kept."""
    headers = {"User-Agent": "vaelab", "Accept-Encoding": "identity", **partial.resume_headers()}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  schemes are checked
    with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310
        resumed = _continues(response, partial)
        if not resumed:
            partial.start_over(response.headers)
        left = response.headers.get("Content-Length")
        total = None if left is None else partial.size + int(left)
        _append(response, partial, total)
    if total is not None and partial.size != total:
        raise ConnectionError(f"the connection ended after {partial.size:,} of {total:,} bytes")
    return resumed


def _continues(response: _Response, partial: _Partial) -> bool:
    if response.status != 206:
        return False
    answered = response.headers.get("Content-Range", "")
    if answered.startswith(f"bytes {partial.size}-"):
        return True
    offset = partial.size
    partial.discard()
    raise ConnectionError(f"requested bytes from {offset}, got {answered!r}")


def _append(response: _Response, partial: _Partial, total: int | None) -> None:
    done = partial.size
    name = partial.path.stem.partition("-")[2]
    with (
        partial.path.open("ab") as file,
        tqdm(total=total, initial=done, desc=name, unit="B", unit_scale=True, disable=None) as bar,
    ):
        while block := response.read(_BLOCK_BYTES):
            file.write(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())


def _is_final(url: str, error: Exception, partial: _Partial) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code == 416:
            partial.discard()
        return 400 <= error.code < 500 and error.code not in _RETRIED_STATUS
    return isinstance(error, ValueError) or url.startswith("file:")


def _explain(error: Exception) -> str:
    reason = error.reason if type(error) is urllib.error.URLError else error
    return " ".join(str(reason).split()) or type(error).__name__


def _publish(partial: _Partial, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial.path, target)
    partial.discard()
    flush(target.parent)
