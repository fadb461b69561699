"""GStreamer's webrtcbin publishes by WHIP, and another plays by WHEP."""

import ctypes
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "aiortc"))
from server import PATIENCE, Server  # noqa: E402

try:
    import gi

    for name in ("Gst", "GstWebRTC", "GstSdp"):
        gi.require_version(name, "1.0")
    from gi.repository import Gst, GstSdp, GstWebRTC

    Gst.init(None)
    NEEDS = [e for e in ("webrtcbin", "vp8enc", "vp8dec", "nicesrc", "rtpvp8pay") if not Gst.ElementFactory.find(e)]
except (ImportError, ValueError) as error:
    NEEDS = [str(error)]

CAPS = "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000"
PUBLISHES = (
    "webrtcbin name=rtc bundle-policy=max-bundle "
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1 "
    f"! vp8enc deadline=1 keyframe-max-dist=60 ! rtpvp8pay ! {CAPS} ! rtc."
)
# With one element alone there would be no pipeline around it.
PLAYS = "webrtcbin name=rtc bundle-policy=max-bundle fakesrc num-buffers=1 ! fakesink"


def allow_loopback(rtc):
    """Its ICE leaves loopback out unless it is told of it; the bindings give its reference back once too often."""
    gobject = ctypes.CDLL("libgobject-2.0.so.0")
    agent, done = ctypes.c_void_p(), ctypes.c_int()
    gobject.g_object_get(ctypes.c_void_p(hash(rtc)), b"ice-agent", ctypes.byref(agent), None)
    gobject.g_signal_emit_by_name(agent, b"add-local-ip-address", b"127.0.0.1", ctypes.byref(done))
    assert done.value, "loopback is not taken"


def elements(of):
    iterator, all_of = of.iterate_recurse(), []
    while True:
        result, element = iterator.next()
        if result != Gst.IteratorResult.OK:
            return all_of
        all_of.append(element)


def certificate():
    """A certificate with a key of ECDSA, as PEM."""
    command = "openssl req -x509 -nodes -days 2 -subj /CN=test -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    with tempfile.NamedTemporaryFile() as key:
        made = subprocess.run([*command.split(), "-keyout", key.name], capture_output=True, check=True)
        return made.stdout.decode() + Path(key.name).read_text()


def fingerprint(pem):
    told = subprocess.run("openssl x509 -noout -fingerprint -sha256".split(), input=pem, capture_output=True, check=True, text=True)
    return told.stdout.strip().split("=")[1]


class Pipeline:
    """A pipeline with one webrtcbin; the frames that it decodes are counted."""

    def __init__(self, description, plays):
        self.pipeline = Gst.parse_launch(description)
        self.rtc = self.pipeline.get_by_name("rtc")
        self.frames = 0
        allow_loopback(self.rtc)
        if plays:
            way = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
            self.rtc.emit("add-transceiver", way, Gst.Caps.from_string(CAPS))
            self.rtc.connect("pad-added", self.on_pad)
        self.pipeline.set_state(Gst.State.PLAYING)

    def on_pad(self, _, pad):
        chain = Gst.parse_bin_from_description("rtpvp8depay ! vp8dec ! fakesink name=sink signal-handoffs=true sync=false", True)
        self.pipeline.add(chain)
        chain.sync_state_with_parent()
        chain.get_by_name("sink").connect("handoff", self.on_frame)
        pad.link(chain.get_static_pad("sink"))

    def on_frame(self, *_):
        self.frames += 1

    def offer(self):
        """The offer once ICE has gathered everything."""
        # A source must have caps before there is anything to offer.
        self.pipeline.get_state(int(PATIENCE * Gst.SECOND))
        # The first makes the transports, whose certificates are of RSA; the server takes those of
        # ECDSA alone, as browsers make them.
        self.create_offer()
        pem, name = certificate(), f"ecdsa-{id(self)}"
        for element in elements(self.rtc):
            factory = element.get_factory()
            if factory and factory.get_name() == "dtlssrtpdec":
                # It listens to its connection from when it begins.
                element.set_state(Gst.State.NULL)
                element.set_property("pem", pem)
                element.set_property("connection-id", name)
                element.sync_state_with_parent()
            if factory and factory.get_name() == "dtlssrtpenc":
                element.set_property("connection-id", name)
        reply = self.create_offer()  # it owns the offer
        offer = reply.get_value("offer")
        self.rtc.emit("set-local-description", offer, Gst.Promise.new())
        gathered = GstWebRTC.WebRTCICEGatheringState.COMPLETE
        self.until(lambda: self.rtc.get_property("ice-gathering-state") == gathered, "candidates")
        # It still names the certificate that it made itself.
        sdp = self.rtc.get_property("local-description").sdp.as_text()
        return re.sub(r"a=fingerprint:\S+ \S+", f"a=fingerprint:sha-256 {fingerprint(pem)}", sdp)

    def create_offer(self):
        promise = Gst.Promise.new()
        self.rtc.emit("create-offer", None, promise)
        promise.wait()
        return promise.get_reply()

    def answered(self, sdp):
        _, message = GstSdp.SDPMessage.new_from_text(sdp)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        promise = Gst.Promise.new()
        self.rtc.emit("set-remote-description", answer, promise)
        promise.wait()

    def until(self, holds, what):
        end = time.monotonic() + PATIENCE
        bus = self.pipeline.get_bus()
        while not holds():
            message = bus.timed_pop_filtered(20 * Gst.MSECOND, Gst.MessageType.ERROR)
            assert message is None, message.parse_error()
            assert time.monotonic() < end, f"no {what}"

    def close(self):
        self.pipeline.set_state(Gst.State.NULL)


@unittest.skipIf(NEEDS and not os.environ.get("CI"), f"needs: {NEEDS}")
class Webrtcbin(unittest.TestCase):
    def test_whip_publishes_and_whep_plays(self):
        self.assertFalse(NEEDS)
        server = self.enterContext(Server()) if hasattr(self, "enterContext") else Server().__enter__()
        self.addCleanup(lambda: server.process.kill())
        token = server.token()
        publisher = Pipeline(PUBLISHES, False)
        self.addCleanup(publisher.close)
        answer, location, _ = server.post_offer("/whip", token, publisher.offer())
        publisher.answered(answer)
        connected = GstWebRTC.WebRTCPeerConnectionState.CONNECTED
        publisher.until(lambda: publisher.rtc.get_property("connection-state") == connected, "connection")

        session = location.split("/")[2]
        viewer = server.token("bob", "viewer", session)
        player = Pipeline(PLAYS, True)
        self.addCleanup(player.close)
        answer, played, _ = server.post_offer(f"/whep/{session}", viewer, player.offer())
        player.answered(answer)
        player.until(lambda: player.frames >= 30, "picture")
        for path, bearer in ((played, viewer), (location, token)):
            status, _, body = server.request("DELETE", path, authorization=f"Bearer {bearer}")
            self.assertEqual(status, 200, body)


if __name__ == "__main__":
    unittest.main(verbosity=2)
