// What runs in the drill's page: the SDK as it is shipped, a camera without a lens, and a screen.
//
// A picture bears its number, and what is shown is told by that alone: nothing here asks the SDK what came.

/** Runs in the browser; `window.tell` takes lines of the ledger, `window.drill` the drill's orders. */
export async function page({ url, token, session: joins, role, backend, publishes, simulcast, policy }) {
  const { connect } = await import('/sdk/index.js');
  const { media } = await import('/sdk/media.js');
  // Chromium encodes one layer only of what is smaller.
  const [width, height] = simulcast ? [640, 360] : [320, 180], across = 16, edge = width / across;
  const told = (line) => window.tell({ t: Date.now(), ...line });
  let cameras = 0, frozen = false, socket;

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

  /** Pictures by a clock of its own: 30 a second. Those of the first camera are told. */
  function camera() {
    const isFirst = cameras++ === 0;
    let made = 0;
    const generator = new MediaStreamTrackGenerator({ kind: 'video' });
    const canvas = new OffscreenCanvas(width, height), context = canvas.getContext('2d');
    const writer = generator.writable.getWriter();
    setInterval(() => {
      if (frozen || writer.desiredSize <= 0) return;
      made += 1;
      draw(context, made);
      if (isFirst) told({ is: 'sent', n: made });
      writer.write(new VideoFrame(canvas, { timestamp: performance.now() * 1000 }));
    }, 33);
    return generator;
  }
  async function watch(track, of) {
    const frames = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (let next; !(next = await frames.read()).done; next.value.close()) {
      const t = Date.now(), n = await read(next.value), wide = next.value.visibleRect.width;
      if (n === null) told({ t, is: 'note', text: 'a picture without a number' });
      else told({ t, is: 'frame', of, n, wide });
    }
  }

  // Every transport that the SDK makes, so that the browser itself can be asked what came over it.
  const transports = [];
  class Connection extends RTCPeerConnection {
    constructor(config) {
      super(config);
      transports.push(this);
      const peer = transports.length;
      this.addEventListener('connectionstatechange', () => told({ is: 'note', text: `transport ${peer} ${this.connectionState}` }));
    }
  }

  /** What the SDK speaks through, so that the drill can speak in its place. */
  class Socket extends WebSocket {
    constructor(...args) {
      super(...args);
      socket = this;
    }
  }

  const fault = ({ code, id, detail, message }) => ({ code, id, detail: { detail: detail ?? null, message } });
  const lines = {
    joined: ({ session, participant }) => ({ is: 'joined', session, participant }),
    log: ({ from, to, kind, data }) => ({ is: 'event', from, to, kind, data }),
    gap: ({ from, to, fault }) => ({ is: 'gap', from, to, code: fault?.code ?? null }),
    media_lost: (event) => ({ is: 'media_lost', ...fault(event.fault) }),
    media_recovered: ({ strategy, lost_ms }) => ({ is: 'media_recovered', how: strategy, lost_ms }),
    fault: ({ fault: { code } }) => ({ is: 'fault', code }),
    connection_lost: (event) => ({ is: 'lost', ...fault(event.fault) }),
    attempt_failed: ({ fault: { code } }) => ({ is: 'attempt_failed', code }),
    recovered: ({ strategy, attempts, lost_ms, replayed }) => ({ is: 'recovered', strategy, attempts, lost_ms, replayed }),
    ended: ({ reason }) => ({ is: 'ended', reason }),
    failed: (event) => ({ is: 'failed', ...fault(event.fault) }),
    still_waiting: ({ because, for_ms }) => ({ is: 'still_waiting', because: because.for, for_ms }),
  };
  const session = await connect({ url, token: () => token, session: joins, role, backend: joins ? undefined : backend, transport: Socket, media: media({ receive: true, peerConnection: Connection, iceTransportPolicy: policy }) });
  const status = () => {
    const { state, fault, legs } = session.status;
    told({ is: 'status', state, code: fault?.code ?? null, media: legs?.find(({ leg }) => leg === 'media')?.health ?? null });
  };
  status();
  session.on('status', status);
  for (const type of ['track', 'track_replaced']) session.media.on(type, ({ participant, track, mediaTrack }) => watch(mediaTrack, `${participant}/${track}`));
  (async () => {
    for await (const event of session.events()) {
      const line = lines[event.type]?.(event);
      told(line ?? { is: 'note', text: event.type });
    }
  })();
  const encodings = simulcast ? [{ rid: 'low', scaleResolutionDownBy: 2 }, { rid: 'high' }] : undefined;
  if (publishes) await session.media.publish(camera(), { name: 'camera', encodings });
  const extras = [];

  window.drill = {
    async set(text) {
      const refused = await session.set(JSON.parse(text)).then(() => null, ({ code }) => code);
      told({ is: 'receipt', key: text, ok: !refused, turn: null, code: refused });
    },
    freeze: (on) => { frozen = on === 'on'; },
    retry: () => session.media.retry(),
    raw: (text) => socket.send(text),
    async extra(name) {
      if (name) extras.push(await session.media.publish(camera(), { name }));
      else extras.pop().unpublish();
    },
    async layer(rid, active) {
      const sender = transports.at(-1).getSenders().find(({ track }) => track);
      const parameters = sender.getParameters();
      for (const encoding of parameters.encodings) if (encoding.rid === rid) encoding.active = active === 'on';
      await sender.setParameters(parameters);
    },
    async stats() {
      const { sdp } = transports.at(-1).localDescription;
      const sum = { channels: sdp.split('m=application').length - 1, packets_lost: 0, packets: 0, frames: 0, freezes: 0, sent: 0 };
      (await transports.at(-1).getStats()).forEach((stat) => {
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
