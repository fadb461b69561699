// What runs in the drill's page: small enough to be read at once. It speaks the protocol and shares no
// code with anything that is drilled, but for the browser's own WebRTC.

/** Runs in the browser; `window.tell` takes lines of the ledger, `window.drill` the drill's orders. */
export function page({ url, token, session, role, backend, publishes }) {
  const letters = '0123456789abcdefghjkmnpqrstvwxyz';
  const mint = (prefix) => prefix + Array.from(crypto.getRandomValues(new Uint8Array(26)), (b) => letters[b & 31]).join('');
  const width = 320, height = 180, across = 16, edge = width / across;
  const client = { instance: mint('i-'), stream: mint('c-'), attempt: 0, next: 1, cursor: 0, epoch: 1, peer: 0, sent: 0, shown: {}, codes: [] };
  const told = (line) => window.tell({ t: Date.now(), ...line });

  // A picture's number: 24 bits, and their sum over 8 bits, as 32 squares that are black or white.
  function squares(n) {
    const [a, b, c] = [n >> 16 & 255, n >> 8 & 255, n & 255];
    return [a, b, c, a + b + c & 255];
  }
  function draw(context, n) {
    context.fillStyle = `hsl(${n % 360} 50% 40%)`;
    context.fillRect(0, 2 * edge, width, height);
    context.fillStyle = 'white';
    context.fillRect(n * 4 % width, 2 * edge + n * 3 % (height - 4 * edge), edge * 2, edge * 2);
    squares(n).forEach((byte, of) => {
      for (let bit = 0; bit < 8; bit += 1) {
        const place = of * 8 + bit;
        context.fillStyle = byte >> (7 - bit) & 1 ? 'white' : 'black';
        context.fillRect(place % across * edge, Math.floor(place / across) * edge, edge, edge);
      }
    });
  }
  async function read(frame) {
    const { width: wide } = frame.visibleRect, side = wide / across;
    const bytes = new Uint8Array(frame.allocationSize());
    const [luma] = await frame.copyTo(bytes);
    const four = [0, 0, 0, 0];
    for (let place = 0; place < 32; place += 1) {
      const x = Math.floor((place % across + 0.5) * side), y = Math.floor((Math.floor(place / across) + 0.5) * side);
      if (bytes[luma.offset + y * luma.stride + x] > 127) four[place >> 3] |= 128 >> (place & 7);
    }
    const [a, b, c, sum] = four;
    return (a + b + c & 255) === sum ? a << 16 | b << 8 | c : null;
  }

  /** Pictures by a clock of its own: 30 a second. */
  function camera() {
    const generator = new MediaStreamTrackGenerator({ kind: 'video' });
    const canvas = new OffscreenCanvas(width, height), context = canvas.getContext('2d');
    const writer = generator.writable.getWriter();
    client.frozen = false;
    setInterval(() => {
      if (client.frozen || writer.desiredSize <= 0) return;
      client.sent += 1;
      draw(context, client.sent);
      writer.write(new VideoFrame(canvas, { timestamp: performance.now() * 1000 }));
    }, 33);
    return generator;
  }
  async function watch(track, of) {
    const frames = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (let next; !(next = await frames.read()).done; next.value.close()) {
      const t = Date.now(), n = await read(next.value);
      if (n === null) told({ t, is: 'note', text: 'a picture without a number' });
      else told({ t, is: 'frame', of, n });
    }
  }

  const send = (frame) => client.ws?.readyState === 1 && client.ws.send(JSON.stringify(frame));
  const command = (name, data) => { send({ type: 'command', n: client.next, name, receipts_ack: 0, data }); client.next += 1; };

  async function open(ice_servers = []) {
    client.pc?.close();
    client.peer += 1;
    const peer = client.peer, pc = client.pc = new RTCPeerConnection({ iceServers: ice_servers });
    pc.ontrack = ({ track }) => watch(track, 'camera');
    pc.onconnectionstatechange = () => told({ is: 'note', text: `peer ${peer} ${pc.connectionState}` });
    const lines = [];
    if (publishes) client.sender = pc.addTransceiver(client.track ??= camera(), { direction: 'sendonly' });
    pc.addTransceiver('video', { direction: 'recvonly' });
    await pc.setLocalDescription();
    if (publishes) lines.push({ mid: client.sender.mid, track: 'camera' });
    send({ type: 'offer', peer, sdp: pc.localDescription.sdp, lines });
  }

  const heard = {
    async welcome(frame) {
      const first = !client.seat, { session, participant, resume_key: key } = frame;
      client.seat = { session, participant, key };
      client.epoch = frame.cursor.epoch;
      if (first) told({ is: 'joined', session, participant });
      else told({ is: 'recovered', strategy: 'fast', attempts: client.attempt - client.lost.attempt, lost_ms: Date.now() - client.lost.t, replayed: 0 });
      client.lost = null;
      if (first && publishes) command('track.publish', { track: 'camera', kind: 'video' });
      if (frame.peer !== client.peer || !client.pc) await open(frame.ice_servers);
      this.status(frame);
    },
    beat: ({ n }) => send({ type: 'beat', n, seq: client.cursor }),
    event({ from, to, kind, data }) { client.cursor = to; told({ is: 'event', from, to, kind, data }); },
    gap({ from, to, fault }) { client.cursor = to; told({ is: 'gap', from, to, code: fault?.code ?? null }); },
    status({ status }) {
      const leg = status.legs?.find((leg) => leg.leg === 'media'), bad = leg && leg.health !== 'up';
      if (bad && !client.mediaLostAt) {
        client.mediaLostAt = Date.now();
        told({ is: 'media_lost', code: leg.fault.code, id: leg.fault.id, detail: leg.fault.detail ?? null });
      }
      if (leg && !bad && client.mediaLostAt) {
        told({ is: 'media_recovered', how: 'server', lost_ms: Date.now() - client.mediaLostAt });
        client.mediaLostAt = 0;
      }
      told({ is: 'status', state: status.state, code: status.fault?.code ?? null, media: leg?.health ?? null });
    },
    fault: ({ fault }) => fault.code === 'media_failed' ? open() : told({ is: 'fault', code: fault.code }),
    async offer({ peer, sdp }) {
      if (peer !== client.peer) return;
      await client.pc.setRemoteDescription({ type: 'offer', sdp });
      await client.pc.setLocalDescription();
      send({ type: 'answer', peer, sdp: client.pc.localDescription.sdp });
    },
    async answer({ peer, sdp }) { if (peer === client.peer) await client.pc.setRemoteDescription({ type: 'answer', sdp }); },
  };

  function connect() {
    const ws = client.ws = new WebSocket(url, 'evenkeel.v1.json');
    ws.onopen = () => {
      const { seat, cursor, epoch } = client;
      const resume = seat && { participant: seat.participant, key: seat.key, cursor: { epoch, seq: cursor }, strategy: 'fast' };
      client.attempt += 1;
      send({
        type: 'hello', token, instance: client.instance, attempt: client.attempt, role, sdk: 'drill', backend: seat || session ? undefined : backend,
        session: seat?.session ?? session, resume: resume ?? undefined, stream: { id: client.stream, next: client.next, receipts_ack: 0 },
      });
    };
    let turn = Promise.resolve();
    ws.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      turn = turn.then(() => heard[frame.type]?.(frame)).catch((error) => told({ is: 'note', text: `${frame.type}: ${error}` }));
    };
    ws.onclose = ({ code }) => {
      if (client.ws !== ws) return;
      if (!client.lost) {
        client.lost = { t: Date.now(), attempt: client.attempt };
        told({ is: 'lost', code: 'transport_error', id: `f-${code}`, detail: null });
      }
      setTimeout(connect, 100);
    };
  }
  connect();

  window.drill = {
    freeze: (on) => { client.frozen = on === 'on'; },
    async stats() {
      const sum = { packets_lost: 0, packets: 0, frames: 0, freezes: 0, sent: 0 };
      (await client.pc.getStats()).forEach((stat) => {
        if (stat.type === 'inbound-rtp') {
          sum.packets_lost += stat.packetsLost ?? 0;
          sum.packets += stat.packetsReceived ?? 0;
          sum.frames += stat.framesDecoded ?? 0;
          sum.freezes += stat.freezeCount ?? 0;
        }
        if (stat.type === 'outbound-rtp') sum.sent += stat.packetsSent ?? 0;
      });
      told({ is: 'stats', ...sum });
    },
  };
}
