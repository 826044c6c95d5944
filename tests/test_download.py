"""Downloads, from a server of this process."""
import hashlib
import http.server
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tinycnn.data import DownloadError, download
from tinycnn.data.download import Remote, fetch

ROOT = Path(__file__).parents[1]
BODY = bytes(range(256)) * 400
MD5 = hashlib.md5(BODY).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Sends BODY for /f, or the part that is asked for; `cut` ends it too early, `ranges` is whether it knows parts."""
    asked, cut, ranges, length = [], None, True, True

    def do_GET(self):
        wanted = self.headers.get("Range")
        Server.asked.append(wanted)
        if self.path != "/f":
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and Server.ranges else 0
        if start >= len(BODY):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if Server.length:
            self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        self.wfile.write(BODY[start:Server.cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def url():
    Server.asked, Server.cut, Server.ranges, Server.length = [], None, True, True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/f"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("length", [True, False])
def test_a_file_is_fetched_once(tmp_path, url, length):
    Server.length = length
    path = tmp_path / "sub" / "f"
    for _ in range(2):
        assert fetch(Remote(url, MD5), path) == path and path.read_bytes() == BODY
    assert Server.asked == [None] and not path.with_name("f.part").exists()


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("cut", [0, 1, 5000, len(BODY) - 1])
def test_a_cut_download_goes_on_where_it_was_cut(tmp_path, url, cut, ranges):
    Server.cut, Server.ranges = cut, ranges
    with pytest.raises(DownloadError, match=f"ended after {cut:,} of {len(BODY):,} bytes"):
        fetch(Remote(url, MD5), tmp_path / "f")
    assert not (tmp_path / "f").exists() and (tmp_path / "f.part").read_bytes() == BODY[:cut]
    Server.cut = None
    assert fetch(Remote(url, MD5), tmp_path / "f").read_bytes() == BODY
    assert Server.asked == [None, f"bytes={cut}-" if cut else None] and not (tmp_path / "f.part").exists()


def test_a_part_that_is_all_of_it(tmp_path, url):
    (tmp_path / "f.part").write_bytes(BODY)
    assert fetch(Remote(url, MD5), tmp_path / "f").read_bytes() == BODY


def test_a_part_of_something_else_is_not_kept(tmp_path, url):
    (tmp_path / "f.part").write_bytes(b"of an older version")
    with pytest.raises(DownloadError, match="md5"):
        fetch(Remote(url, MD5), tmp_path / "f")
    assert fetch(Remote(url, MD5), tmp_path / "f").read_bytes() == BODY


def test_a_file_that_is_not_the_published_one_is_not_kept(tmp_path, url):
    with pytest.raises(DownloadError, match=f"{url} gave a file with md5 {MD5}, expected 0123.*deleted"):
        fetch(Remote(url, "0123"), tmp_path / "f")
    assert [p.name for p in tmp_path.iterdir()] == ["f.lock"]


def says_what_to_do(error, url, path):
    return all(words in str(error) for words in (url, MD5, str(path), "--data-dir"))


def test_a_missing_page(tmp_path, url):
    with pytest.raises(DownloadError, match="404") as caught:
        fetch(Remote(url + "x", MD5), tmp_path / "f")
    assert says_what_to_do(caught.value, url + "x", tmp_path / "f")


def test_a_cache_that_cannot_be_written(tmp_path, url):
    (tmp_path / "sub").write_text("a file in the folder's place")
    with pytest.raises(DownloadError) as caught:
        fetch(Remote(url, MD5), tmp_path / "sub" / "f")
    assert says_what_to_do(caught.value, url, tmp_path / "sub" / "f") and not Server.asked


def test_without_network(tmp_path):
    with socket.socket() as taken:                   # a port on which nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/f"
        with pytest.raises(DownloadError, match="refused") as caught:
            fetch(Remote(url, MD5), tmp_path / "f")
    assert says_what_to_do(caught.value, url, tmp_path / "f")


@pytest.mark.parametrize("stuck", ["a server that is silent", "a name that is looked up"])
def test_an_answer_is_not_waited_for_longer_than_the_limit(tmp_path, monkeypatch, stuck):
    assert download.TIMEOUT < 10
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    over = threading.Event()
    if stuck == "a name that is looked up":
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: over.wait(5) and [])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/f"
        start = time.monotonic()
        with pytest.raises(DownloadError, match="no answer|timed out") as caught:
            fetch(Remote(url, MD5), tmp_path / "f")
        assert time.monotonic() - start < 2 and says_what_to_do(caught.value, url, tmp_path / "f")
    over.set()
    for thread in threading.enumerate():
        if thread.name == "tinycnn-download":
            thread.join()


def process(code):
    code = f"import sys, time\nfrom pathlib import Path\nfrom tinycnn.data.download import *\n{code}"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_many_processes_fetch_once(tmp_path, url):
    started = [process(f"fetch(Remote({url!r}, {MD5!r}), Path({str(tmp_path / 'f')!r}))") for _ in range(8)]
    assert [(p.communicate(), p.returncode)[1] for p in started] == [0] * 8
    assert (tmp_path / "f").read_bytes() == BODY and len(Server.asked) == 1


def test_the_lock_of_a_killed_process_is_free(tmp_path, url):
    holder = process(f"""
from tinycnn.data.download import _locked
with _locked(Path({str(tmp_path / 'f.lock')!r})):
    print("held", flush=True)
    time.sleep(60)
""")
    assert holder.stdout.readline() == "held\n"
    waiting = threading.Thread(target=fetch, args=(Remote(url, MD5), tmp_path / "f"))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive() and not Server.asked   # the lock is respected
    holder.kill()
    holder.communicate()
    waiting.join(10)
    assert (tmp_path / "f").read_bytes() == BODY


def test_the_published_addresses_have_checksums():
    source = (ROOT / "tinycnn" / "data" / "datasets.py").read_text()
    assert len(set(re.findall(r'"([0-9a-f]{32})"', source))) == 4 + 4 + 2
