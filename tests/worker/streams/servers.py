"""Cameras: streams over HTTP, HLS and RTSP at real time pace, that can be cut off and can come back."""

import http.server
import io
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2
from av.video.stream import VideoStream

from tests.worker.videos.synthetic import Pixels, walk

FPS: Final = 10
#: seconds of an HLS segment
SEGMENT: Final = 1
PICTURES: Final = walk(60)


def picture(number: int) -> Pixels:
    return PICTURES[number % len(PICTURES)]


def encode(stream: VideoStream, number: int) -> Any:
    frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
    frame.pts, frame.time_base = number, Fraction(1, FPS)
    return stream.encode(frame)


def add_stream(container: Any) -> VideoStream:
    stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency"})
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
    stream.codec_context.gop_size = FPS // 2
    return stream


def play(container: Any, ending: threading.Event) -> None:
    """Send pictures at real time pace."""
    stream = add_stream(container)
    begin = time.monotonic()
    number = 0
    while not ending.wait(max(0, begin + number / FPS - time.monotonic())):
        container.mux(encode(stream, number))
        number += 1


def replay(file: Path, container: Any, ending: threading.Event) -> None:
    """Send a video's packets at real time pace, again and again."""
    begin, offset = time.monotonic(), 0.0
    with av.open(str(file)) as source:
        stream = container.add_stream_from_template(source.streams.video[0])
    while not ending.is_set():
        with av.open(str(file)) as source:
            video, last = source.streams.video[0], offset
            for packet in source.demux(video):
                if packet.dts is None or packet.pts is None or packet.time_base is None:
                    continue
                shift = round(offset / packet.time_base)
                packet.pts += shift
                packet.dts += shift
                packet.stream = stream
                last = float((packet.dts + (packet.duration or 0)) * packet.time_base)
                if ending.wait(max(0, begin + float(packet.dts * packet.time_base) - time.monotonic())):
                    return
                container.mux(packet)
            offset = last


class Camera(http.server.ThreadingHTTPServer):
    """`/live.ts`, `/live.mjpg`, `/live.m3u8`, `/file.ts`. Others behave like their names."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0, playlist: str = "", file: Path | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Requests)
        self.begin = time.monotonic()
        #: what `/evil.m3u8` says
        self.playlist = playlist
        self.file = file
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.ending = threading.Event()
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def get_request(self) -> Any:
        found = super().get_request()
        self._sockets.append(found[0])
        return found

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave."""

    def cut(self) -> None:
        """Break all connections off."""
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def die(self) -> None:
        self.ending.set()
        self.shutdown()
        self.server_close()
        self.cut()
        self._thread.join()


class _Requests(http.server.BaseHTTPRequestHandler):
    server: Camera

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        name, _, more = self.path.lstrip("/").partition("?")
        if name == "live.ts":
            self._begin("video/mp2t")
            with av.open(self.wfile, "w", format="mpegts") as container:
                play(container, self.server.ending)
        elif name == "file.ts" and self.server.file is not None:
            self._begin("video/mp2t")
            with av.open(self.wfile, "w", format="mpegts") as container:
                replay(self.server.file, container, self.server.ending)
        elif name == "live.mjpg":
            self._begin("multipart/x-mixed-replace; boundary=frame")
            self._play_pictures()
        elif name == "live.m3u8":
            self._begin("application/vnd.apple.mpegurl")
            self.wfile.write(self._playlist().encode())
        elif name == "evil.m3u8":
            self._begin("application/vnd.apple.mpegurl")
            self.wfile.write(self.server.playlist.encode())
        elif name.startswith("segment-"):
            self._begin("video/mp2t")
            self.wfile.write(segment(int(name[8:-3])))
        elif name == "redirect":
            self.send_response(302)
            self.send_header("Location", more)
            self.end_headers()
        elif name == "page":
            self._begin("text/html")
            self.wfile.write(b"<!doctype html>" + b"<p>no stream</p>" * 100)
        elif name == "silent":
            self._begin("video/mp2t")
            self.wfile.flush()
            self.server.ending.wait(60)
        else:
            self.send_error(404)

    def _begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def _play_pictures(self) -> None:
        number = 0
        while not self.server.ending.wait(1 / FPS):
            _, data = cv2.imencode(".jpg", picture(number)[..., ::-1])
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            self.wfile.write(head.encode() + data.tobytes() + b"\r\n")
            number += 1

    def _playlist(self) -> str:
        last = int((time.monotonic() - self.server.begin) / SEGMENT) + 4
        lines = ["#EXTM3U", f"#EXT-X-TARGETDURATION:{SEGMENT}", f"#EXT-X-MEDIA-SEQUENCE:{last - 4}"]
        for number in range(last - 4, last):
            lines += [f"#EXTINF:{SEGMENT}.0,", f"segment-{number}.ts"]
        return "\n".join(lines)

    def log_message(self, *args: object) -> None:
        """Quiet."""


def segment(number: int) -> bytes:
    """A second of HLS."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = add_stream(container)
        for place in range(number * FPS * SEGMENT, (number + 1) * FPS * SEGMENT):
            container.mux(encode(stream, place))
        container.mux(stream.encode(None))
    return file.getvalue()


class RtspCamera:
    """An RTSP server over one connection each. FFmpeg sends it a stream, and it passes that on to whoever plays it.

    Args:
        redirect: where DESCRIBE is redirected to.
        user: `name:password` that it asks for (Basic).
    """

    def __init__(self, redirect: str = "", authorization: str = "") -> None:
        self._redirect = redirect
        self._authorization = authorization
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sdp = b""
        self._players: list[socket.socket] = []
        self._all: list[socket.socket] = [self._listener]
        self._ready = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()
        # FFmpeg's sender holds the interpreter while it waits for an answer: not in this process
        command = [sys.executable, "-m", "tests.worker.streams.servers", f"{self.url}/in"]
        self._pusher = None if redirect else subprocess.Popen(command)
        assert redirect or self._ready.wait(20)

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/cam"

    def cut(self) -> None:
        for sock in list(self._players):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def die(self) -> None:
        if self._pusher is not None:
            self._pusher.kill()
            self._pusher.wait(5)
        for sock in self._all:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._all.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with closing(sock), suppress(OSError, ValueError), sock.makefile("rb") as file:
            while first := file.read(1):
                if first == b"$":
                    head = file.read(3)
                    self._pass_on(b"$" + head + file.read(int.from_bytes(head[1:], "big")))
                    continue
                self._answer(sock, first + file.readline(), file)
        if sock in self._players:
            self._players.remove(sock)

    def _pass_on(self, frame: bytes) -> None:
        self._ready.set()
        for player in list(self._players):
            with suppress(OSError):
                player.sendall(frame)

    def _answer(self, sock: socket.socket, line: bytes, file: Any) -> None:
        method = line.split()[0].decode()
        headers: dict[str, str] = {}
        while (text := file.readline().decode().strip()) != "":
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        body = file.read(int(headers.get("content-length", 0)))
        status, more, content = "200 OK", ["Session: 1"], b""
        if method == "OPTIONS":
            more.append("Public: DESCRIBE, SETUP, PLAY, ANNOUNCE, RECORD, TEARDOWN")
        elif method == "ANNOUNCE":
            self._sdp = body
        elif method == "DESCRIBE" and self._redirect:
            status, more = "302 Found", [f"Location: {self._redirect}"]
        elif method == "DESCRIBE" and self._authorization not in headers.get("authorization", ""):
            status, more = "401 Unauthorized", ['WWW-Authenticate: Basic realm="camera"']
        elif method == "DESCRIBE":
            content, more = self._sdp, ["Content-Type: application/sdp"]
        elif method == "SETUP":
            more.append(f"Transport: {headers['transport'].split(';mode')[0]}")
        more += [f"CSeq: {headers.get('cseq', '0')}", f"Content-Length: {len(content)}"]
        sock.sendall("\r\n".join([f"RTSP/1.0 {status}", *more, "", ""]).encode() + content)
        if method == "PLAY":
            self._players.append(sock)


if __name__ == "__main__":
    with av.open(sys.argv[1], "w", format="rtsp", options={"rtsp_transport": "tcp"}) as output:
        play(output, threading.Event())
