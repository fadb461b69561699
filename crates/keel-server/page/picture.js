// The test picture: a boat that stays level while the sea does not, a clock, and the number of the frame,
// once for people and once as a row of blocks that a page, or a test, reads off the picture that returns.
//
// The row is 32 blocks: white, black; 16 bits of the frame's number, 8 of its source, 4 that check both
// (the sum of the six groups of four, and nine); black, white.

export const WIDTH = 640, HEIGHT = 360, PER_S = 30;
const BLOCKS = 32, SIDE = WIDTH / BLOCKS;
const NUMBERS = 1 << 16;
/** Frames whose time of sending is remembered. */
const REMEMBERED = 4_096;
/** The first pictures may be old ones: what was sent while nobody was there yet is not lost. */
const SETTLED = 10;

const check = (number, source) => {
  let sum = 9;
  for (let rest = number * 256 + source; rest > 0; rest = Math.floor(rest / 16)) sum += rest % 16;
  return sum % 16;
};

/** The blocks of a frame's number. @returns {boolean[]} white or not */
export function blocks(number, source) {
  const bits = (value, count) => Array.from({ length: count }, (_, at) => Boolean((value >> (count - 1 - at)) & 1));
  return [true, false, ...bits(number % NUMBERS, 16), ...bits(source, 8), ...bits(check(number % NUMBERS, source), 4), false, true];
}

/** The number that a row of lightnesses (0 to 255, one a block) stands for; undefined where it is none. */
export function parse(light) {
  const white = (light[0] + light[31]) / 2, black = (light[1] + light[30]) / 2;
  if (white - black < 60) return undefined;
  const bit = (at) => (light[at] > (white + black) / 2 ? 1 : 0);
  const value = (from, count) => Array.from({ length: count }, (_, at) => bit(from + at)).reduce((sum, one) => sum * 2 + one, 0);
  const number = value(2, 16), source = value(18, 8);
  return value(26, 4) === check(number, source) ? { number, source } : undefined;
}

/** Draws the picture and gives it as a track. */
export class Pattern {
  frame = 0;
  /** Stands still on purpose. */
  frozen = false;
  source = crypto.getRandomValues(new Uint8Array(1))[0];
  #sentAt = new Float64Array(REMEMBERED);
  #canvas = Object.assign(document.createElement('canvas'), { width: WIDTH, height: HEIGHT });
  #paint = this.#canvas.getContext('2d', { alpha: false });
  #beats = new Worker('/page/metronome.js');
  #began = performance.now();

  constructor() {
    this.#draw();
    this.stream = this.#canvas.captureStream(0);
    [this.track] = this.stream.getVideoTracks();
    this.track.contentHint = 'motion';
    // In Firefox the stream is asked, and not the track.
    const capture = this.track.requestFrame ? this.track : this.stream;
    this.#beats.onmessage = () => {
      if (this.frozen) return;
      this.#draw();
      capture.requestFrame();
    };
    this.#beats.postMessage(1_000 / PER_S);
  }

  /** When a frame was drawn, if that is still known. @returns {number | undefined} */
  sentAt(number) {
    const behind = (this.frame - number + NUMBERS) % NUMBERS;
    return behind < REMEMBERED ? this.#sentAt[(this.frame - behind + REMEMBERED * 16) % REMEMBERED] : undefined;
  }

  close() {
    this.#beats.terminate();
    this.track.stop();
  }

  #draw() {
    const paint = this.#paint, t = (performance.now() - this.#began) / 1_000;
    this.frame += 1;
    this.#sentAt[this.frame % REMEMBERED] = performance.now();
    const roll = Math.sin(t * 1.3) * 0.12;

    paint.fillStyle = '#0e3a46';
    paint.fillRect(0, 0, WIDTH, HEIGHT);
    paint.fillStyle = '#f3c969';
    paint.beginPath();
    paint.arc(520, 84 + Math.sin(t / 4) * 12, 30, 0, 7);
    paint.fill();
    sea(paint, t * 0.7, 214, 16, '#11606f', roll * 0.6);
    // The boat: level, whatever the sea does.
    const x = (t * 46) % (WIDTH + 200) - 100, y = 226 + Math.sin(t * 1.9) * 5;
    paint.fillStyle = '#f7f4ec';
    paint.fillRect(x - 2, y - 74, 4, 70);
    paint.beginPath();
    paint.moveTo(x + 6, y - 70); paint.lineTo(x + 48, y - 14); paint.lineTo(x + 6, y - 14);
    paint.moveTo(x - 6, y - 58); paint.lineTo(x - 34, y - 14); paint.lineTo(x - 6, y - 14);
    paint.fill();
    paint.fillStyle = '#d9583b';
    paint.beginPath();
    paint.moveTo(x - 56, y - 6); paint.lineTo(x + 58, y - 6); paint.lineTo(x + 36, y + 18); paint.lineTo(x - 38, y + 18);
    paint.fill();
    sea(paint, -t, 246, 13, '#178496', roll);

    paint.fillStyle = '#eef7f8';
    paint.font = '600 30px system-ui, sans-serif';
    const now = new Date();
    paint.fillText(`${now.toLocaleTimeString('en-GB')}.${Math.floor(now.getMilliseconds() / 100)}`, 24, 50);
    paint.font = '20px ui-monospace, monospace';
    paint.fillText(`frame ${this.frame}`, 24, 80);

    paint.fillStyle = '#000';
    paint.fillRect(0, HEIGHT - SIDE, WIDTH, SIDE);
    paint.fillStyle = '#fff';
    blocks(this.frame, this.source).forEach((isWhite, at) => isWhite && paint.fillRect(at * SIDE, HEIGHT - SIDE, SIDE, SIDE));
  }
}

function sea(paint, phase, level, height, colour, roll) {
  paint.fillStyle = colour;
  paint.beginPath();
  paint.moveTo(0, HEIGHT);
  for (let x = 0; x <= WIDTH; x += 16) paint.lineTo(x, level + Math.sin(x / 58 + phase * 2) * height + (x - WIDTH / 2) * roll);
  paint.lineTo(WIDTH, HEIGHT);
  paint.fill();
}

/** Reads the row of blocks off whatever can be drawn. */
export class Reader {
  #canvas = Object.assign(document.createElement('canvas'), { width: BLOCKS * 3, height: 3 });
  #paint = this.#canvas.getContext('2d', { willReadFrequently: true, alpha: false });

  /** @param {CanvasImageSource} image @param {number} width @param {number} height as it is now: an encoder may have made it smaller */
  read(image, width, height) {
    const side = width / BLOCKS;
    this.#paint.drawImage(image, 0, height - side, width, side, 0, 0, BLOCKS * 3, 3);
    const { data } = this.#paint.getImageData(0, 1, BLOCKS * 3, 1);
    return parse(Array.from({ length: BLOCKS }, (_, at) => data[(at * 3 + 1) * 4 + 1]));
  }
}

/** Calls `seen(image, width, height)` for each picture of a track that arrives, shown or not, until it is stopped. */
export function watch(track, video, seen) {
  let over = false;
  const stop = () => (over = true);
  if (globalThis.MediaStreamTrackProcessor) {
    // A page that is hidden shows nothing, and gets every picture all the same.
    const pictures = new MediaStreamTrackProcessor({ track }).readable.getReader();
    (async () => {
      for (let next; !over && !(next = await pictures.read()).done; next.value.close()) seen(next.value, next.value.displayWidth, next.value.displayHeight);
      pictures.cancel().catch(() => {});
    })().catch(() => {});
  } else if (video.requestVideoFrameCallback) {
    const next = () => {
      if (over) return;
      seen(video, video.videoWidth, video.videoHeight);
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
  }
  return stop;
}

/** What came back of a picture that was sent: how many, how late, how many not. */
export class Returned {
  frames = 0;
  lost = 0;
  unread = 0;
  /** When the last came, and the last whose number could be read. */
  at = 0;
  readAt = 0;
  /** The last number. @type {number | undefined} */
  number = undefined;
  /** The longest wait between two frames. */
  gapMs = 0;
  /** @type {number | undefined} */
  delayMs = undefined;
  /** @type {number | undefined} */
  source = undefined;
  #reader = new Reader();
  #recent = [];

  /** @param {Pattern | undefined} pattern the one that was sent, where it is this page's own */
  take(image, width, height, pattern) {
    const now = performance.now();
    if (this.at) this.gapMs = Math.max(this.gapMs, now - this.at);
    this.at = now;
    this.frames += 1;
    this.#recent.push(now);
    while (this.#recent[0] < now - 1_000) this.#recent.shift();
    const read = this.#reader.read(image, width, height);
    if (!read) {
      this.unread += 1;
      return;
    }
    const { number, source } = read;
    if (this.number !== undefined && this.source === source) {
      const ahead = (number - this.number + NUMBERS) % NUMBERS;
      if (this.frames > SETTLED && ahead > 1 && ahead < NUMBERS / 2) this.lost += ahead - 1;
    }
    Object.assign(this, { number, source, readAt: now });
    const sent = pattern?.source === source ? pattern.sentAt(number) : undefined;
    this.delayMs = sent === undefined ? undefined : now - sent;
  }

  /** Whether what comes now is the test picture. */
  get isNumbered() {
    return this.number !== undefined && this.at - this.readAt < 1_000;
  }

  /** Pictures in the last second. */
  rate() {
    const from = performance.now() - 1_000;
    return this.#recent.filter((at) => at >= from).length;
  }
}
