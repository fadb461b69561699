"""aiortc, an implementation of WebRTC of its own: through our WebSocket and through WHIP and WHEP."""

import asyncio
import json
import sys
import unittest
from fractions import Fraction
from pathlib import Path

import aioice.ice
import numpy
import websockets
from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.sdp import candidate_from_sdp
from av import VideoFrame

sys.path.insert(0, str(Path(__file__).parent))
from server import PATIENCE, Server  # noqa: E402

# aiortc's ICE leaves loopback out; here there is nothing else.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]

SUBPROTOCOL = "evenkeel.v1.json"


class Pattern(VideoStreamTrack):
    """A picture that brightens from frame to frame."""

    def __init__(self):
        super().__init__()
        self.made = 0

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        grey = 16 + (self.made * 3) % 200
        frame = VideoFrame.from_ndarray(numpy.full((240, 320, 3), grey, numpy.uint8), format="rgb24")
        frame.pts, frame.time_base = pts, Fraction(time_base)
        self.made += 1
        return frame


class Screen:
    """Counts the frames that were decoded, and how bright they were."""

    def __init__(self, peer):
        self.frames, self.levels, self.codecs = 0, set(), set()
        self.tasks = []

        @peer.on("track")
        def _(track):
            self.tasks.append(asyncio.ensure_future(self.watch(track)))

    async def watch(self, track):
        while True:
            try:
                frame = await track.recv()
            except Exception:  # the track has ended
                return
            self.frames += 1
            self.levels.add(int(frame.to_ndarray(format="gray").mean()) // 16)

    async def shows(self, frames):
        async def wait():
            while self.frames < frames or len(self.levels) < 3:
                await asyncio.sleep(0.05)

        await asyncio.wait_for(wait(), PATIENCE)


def peer():
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


def only(transceiver, mime):
    capabilities = RTCRtpSender if transceiver.sender else RTCRtpReceiver
    codecs = capabilities.getCapabilities("video").codecs
    transceiver.setCodecPreferences([c for c in codecs if c.mimeType in (mime, "video/rtx")])


class Signaling:
    """Frames over our WebSocket, as the protocol's document says and no more."""

    def __init__(self, server, token):
        self.server, self.token, self.heard = server, token, []
        self.n = 0

    async def __aenter__(self):
        url = f"ws://127.0.0.1:{self.server.port}/v1/connect"
        self.socket = await websockets.connect(url, subprotocols=[SUBPROTOCOL])
        self.changed = asyncio.Condition()
        self.reader = asyncio.ensure_future(self.read())
        return self

    async def __aexit__(self, *_):
        self.reader.cancel()
        await self.socket.close()

    async def read(self):
        async for text in self.socket:
            frame = json.loads(text)
            if frame["type"] == "beat":
                await self.send(type="beat", n=frame["n"], seq=0)
            async with self.changed:
                self.heard.append(frame)
                self.changed.notify_all()

    async def send(self, **frame):
        await self.socket.send(json.dumps(frame))

    async def until(self, what, **wanted):
        def found():
            for frame in self.heard:
                if frame["type"] == what and all(frame.get(k) == v for k, v in wanted.items()):
                    return frame
            return None

        async def wait():
            async with self.changed:
                await self.changed.wait_for(found)

        await asyncio.wait_for(wait(), PATIENCE)
        return found()

    async def join(self, session=None, role="owner", backend=None):
        hello = {
            "token": self.token, "instance": f"i-{id(self)}", "attempt": 1, "role": role,
            "stream": {"id": f"c-{id(self)}", "next": 1, "receipts_ack": 0}, "sdk": "aiortc/1.16",
        }
        hello.update({k: v for k, v in {"session": session, "backend": backend}.items() if v})
        await self.send(type="hello", **hello)
        return await self.until("welcome")

    async def command(self, name, **data):
        self.n += 1
        await self.send(type="command", n=self.n, name=name, data=data)
        receipt = await self.until("receipt", n=self.n)
        assert "ok" in receipt, receipt


class Aiortc(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.server = self.enterContext(Server())

    async def both_ways(self, mime, server=None):
        """A picture through the server and back, over the WebSocket; the server's answer."""
        server = server or self.server
        ends = peer()
        screen, camera = Screen(ends), Pattern()
        sends = ends.addTransceiver(camera, direction="sendonly")
        receives = ends.addTransceiver("video", direction="recvonly")
        only(sends, mime)
        only(receives, mime)
        async with Signaling(server, server.token()) as signaling:
            await signaling.join(backend="passthrough")
            await signaling.command("track.publish", track="camera", kind="video")
            await ends.setLocalDescription(await ends.createOffer())
            # Trickle: the description goes without candidates, which come one by one, and late.
            sdp = ends.localDescription.sdp
            candidates = [line[2:] for line in sdp.splitlines() if line.startswith("a=candidate:")]
            bare = [line for line in sdp.splitlines() if not line.startswith(("a=candidate:", "a=end-of"))]
            lines = [{"mid": sends.mid, "track": "camera"}]
            await signaling.send(type="offer", peer=1, sdp="\r\n".join(bare) + "\r\n", lines=lines)
            answer = await signaling.until("answer", peer=1)
            for candidate in candidates:
                await signaling.send(type="candidate", peer=1, candidate=candidate)
            await signaling.send(type="candidate", peer=1, candidate="")
            await ends.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
            # The server's candidates are on the first line of the bundle, where aiortc looks on the last.
            for line in answer["sdp"].splitlines():
                if line.startswith("a=candidate:"):
                    candidate = candidate_from_sdp(line.removeprefix("a=candidate:"))
                    candidate.sdpMid = sends.mid
                    await ends.addIceCandidate(candidate)
            await screen.shows(30)
            self.assertTrue(mime.split("/")[1] in answer["sdp"], "the codec that was asked for")
            self.assertGreater(camera.made, 30)
        await ends.close()
        return answer["sdp"]

    async def test_vp8_goes_both_ways(self):
        await self.both_ways("video/VP8")

    async def test_h264_goes_both_ways(self):
        await self.both_ways("video/H264")

    async def test_a_server_that_makes_no_checks_is_connected_to(self):
        with Server(media="ice_lite = true") as lite:
            self.assertIn("a=ice-lite", await self.both_ways("video/VP8", lite))

    async def test_whip_and_whep_and_a_trickled_candidate(self):
        publisher, camera = peer(), Pattern()
        publisher.addTransceiver(camera, direction="sendonly")
        await publisher.setLocalDescription(await publisher.createOffer())
        token = self.server.token()
        answer, location, etag = self.server.post_offer("/whip", token, publisher.localDescription.sdp)
        await publisher.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        candidate = next(l for l in publisher.localDescription.sdp.splitlines() if l.startswith("a=candidate:"))
        status, _, body = self.server.request(
            "PATCH", location, candidate + "\r\n", authorization=f"Bearer {token}",
            content_type="application/trickle-ice-sdpfrag", if_match=etag,
        )
        self.assertEqual(status, 204, body)
        session = location.split("/")[2]
        viewer = self.server.token("bob", "viewer", session)
        player = peer()
        screen = Screen(player)
        player.addTransceiver("video", direction="recvonly")
        await player.setLocalDescription(await player.createOffer())
        answer, played, _ = self.server.post_offer(f"/whep/{session}", viewer, player.localDescription.sdp)
        await player.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await screen.shows(30)
        for path, bearer in ((played, viewer), (location, token)):
            status, _, body = self.server.request("DELETE", path, authorization=f"Bearer {bearer}")
            self.assertEqual(status, 200, body)
        await player.close()
        await publisher.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
