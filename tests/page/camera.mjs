// A client for media, small enough to be read at once: it runs inside the page, and stands in
// `window.cam` for the test to look at. It speaks the protocol and shares no code with anything.

/** Runs in the browser. */
export function camera({ token, session, role = 'owner', publishes = true }) {
  const letters = '0123456789abcdefghjkmnpqrstvwxyz';
  const mint = (prefix) => prefix + Array.from(crypto.getRandomValues(new Uint8Array(26)), (b) => letters[b & 31]).join('');
  const cam = {
    faults: [], status: null, peer: 0, seat: null, frames: 0, frameAt: [], closes: 0, welcomes: [], signals: [],
    instance: mint('i-'), stream: mint('c-'), attempt: 0, next: 1, cursor: 0, epoch: 1,
  };
  window.cam = cam;
  /** Takes each picture off a track: a headless page shows none, so none would be counted by showing. */
  async function watch(track) {
    const pictures = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (let next; !(next = await pictures.read()).done; next.value.close()) {
      cam.frames += 1;
      cam.frameAt.push(performance.now());
    }
  }

  const send = (frame) => cam.ws?.readyState === 1 && cam.ws.send(JSON.stringify(frame));
  const command = (name, data) => { send({ type: 'command', n: cam.next, name, receipts_ack: 0, data }); cam.next += 1; };

  /** A new transport, under the next number. */
  async function open() {
    cam.pc?.close();
    cam.peer += 1;
    const pc = cam.pc = new RTCPeerConnection();
    pc.ontrack = ({ track }) => watch(track);
    const lines = [];
    if (publishes) {
      cam.media ??= await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 } });
      cam.sender = pc.addTransceiver(cam.media.getVideoTracks()[0], { direction: 'sendonly' });
    }
    pc.addTransceiver('video', { direction: 'recvonly' });
    await pc.setLocalDescription();
    if (publishes) lines.push({ mid: cam.sender.mid, track: 'camera' });
    send({ type: 'offer', peer: cam.peer, sdp: pc.localDescription.sdp, lines });
  }

  const heard = {
    async welcome(frame) {
      const first = !cam.seat;
      cam.seat = { session: frame.session, participant: frame.participant, key: frame.resume_key };
      cam.epoch = frame.cursor.epoch;
      cam.welcomes.push({ at: performance.now(), how: frame.how, peer: frame.peer ?? null });
      if (first && publishes) command('track.publish', { track: 'camera', kind: 'video' });
      if (frame.peer !== cam.peer || !cam.pc) await open();
    },
    beat: ({ n }) => send({ type: 'beat', n, seq: cam.cursor }),
    event: ({ to }) => { cam.cursor = to; },
    gap: ({ to }) => { cam.cursor = to; },
    status: ({ status }) => { cam.status = status; },
    fault: ({ fault }) => cam.faults.push(fault.code),
    async offer({ peer, sdp }) {
      if (peer !== cam.peer) return;
      await cam.pc.setRemoteDescription({ type: 'offer', sdp });
      await cam.pc.setLocalDescription();
      send({ type: 'answer', peer, sdp: cam.pc.localDescription.sdp });
    },
    answer: ({ peer, sdp }) => peer === cam.peer && cam.pc.setRemoteDescription({ type: 'answer', sdp }),
  };

  function connect() {
    const ws = cam.ws = new WebSocket(`ws://${location.host}/v1/connect`, 'evenkeel.v1.json');
    ws.onopen = () => {
      const { seat, cursor, epoch } = cam;
      const resume = seat && { participant: seat.participant, key: seat.key, cursor: { epoch, seq: cursor }, strategy: 'fast' };
      cam.attempt += 1;
      send({
        type: 'hello', token, instance: cam.instance, attempt: cam.attempt, role, sdk: 'camera', backend: 'passthrough',
        session: seat?.session ?? session, resume: resume ?? undefined, stream: { id: cam.stream, next: cam.next, receipts_ack: 0 },
      });
    };
    let turn = Promise.resolve();
    ws.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      cam.signals.push(frame.type);
      turn = turn.then(() => heard[frame.type]?.(frame)).catch((error) => cam.faults.push(String(error)));
    };
    ws.onclose = () => { cam.closes += 1; if (cam.ws === ws) setTimeout(connect, 100); };
  }
  connect();
}

/** What the browser itself says of what it got and sent. Runs in the browser. */
export async function measured() {
  const told = { decoded: 0, lost: 0, freezes: 0, sent: 0 };
  (await cam.pc.getStats()).forEach((stat) => {
    if (stat.type === 'inbound-rtp') {
      told.decoded += stat.framesDecoded ?? 0;
      told.lost += stat.packetsLost ?? 0;
      told.freezes += stat.freezeCount ?? 0;
    }
    if (stat.type === 'outbound-rtp') told.sent += stat.packetsSent ?? 0;
  });
  return told;
}
