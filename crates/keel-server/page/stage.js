// The picture: what is sent, what returns or comes from others, side by side, and its figures.

import { $, keepFocus, make, put, span } from './dom.js';
import { Pattern, Returned, watch } from './picture.js';

/** After so long without a picture it is said over it. */
const STILL_MS = 700;
const NAME = 'camera';

/** A track that no picture comes of, and that is neither muted nor over. */
function still() {
  const canvas = make('canvas');
  canvas.getContext('2d'); // Firefox takes nothing from one that cannot be painted.
  return canvas.captureStream(0).getVideoTracks()[0];
}

function devices() {
  if (navigator.mediaDevices) return navigator.mediaDevices;
  throw new Error('There are no devices here: the page must come from https or from this machine.');
}

export class Stage {
  /** @type {Pattern | undefined} */
  pattern = undefined;
  /** @type {MediaStreamTrack | undefined} */
  camera = undefined;
  /** @type {'pattern' | 'camera' | 'none'} */
  source = 'none';
  /** The source stands still on purpose, until it is let go on or another is chosen. */
  isFrozen = false;
  /** What is published. */
  publication = undefined;
  /** What is received, by participant and track. @type {Map<string, Tile>} */
  tiles = new Map();
  /** From the opening of the page, or of the session, to its first picture. */
  firstMs = undefined;
  /** What is published of the microphone. */
  voice = undefined;
  /** Whether the microphone is wanted; it may be on its way. */
  speaks = false;
  isHeard = false;
  /** What plays the sound of others. @type {Map<string, HTMLAudioElement>} */
  #voices = new Map();
  /** What is done about the picture, and about the voice, one after the other: publishing may take a while. */
  #turns = { picture: Promise.resolve(), voice: Promise.resolve() };
  /** Whoever mutes wants to be neither seen nor heard, not by what is still on its way, either. */
  isMuted;
  /** What was asked for last: somebody who is asked for the camera may have thought better of it. */
  #wanted = 'none';
  #isClosed = false;
  /** Whether what is sent comes back. */
  #returns;
  #session;
  #note;
  #began;
  #off = new AbortController();

  /**
   * @param {any} session
   * @param {{ note: (kind: string, text?: string, tone?: any) => void, began: number, returns: boolean, muted: boolean, lost: () => void }} parts
   */
  constructor(session, { note, began, returns, muted, lost }) {
    this.isMuted = muted;
    this.#returns = returns;
    this.#session = session;
    this.#note = note;
    this.#began = began;
    const { media } = session;
    const { signal } = this.#off;
    const place = (event) => this.#place(event);
    media.on('track', place, { signal });
    media.on('track_replaced', place, { signal });
    media.on('track_removed', (event) => this.#remove(event), { signal });
    media.on('publication_ended', () => note('source', 'The device has ended; nothing is sent.', 'warn'), { signal });
    media.on('publication_lost', ({ publication, fault }) => {
      if (publication === this.publication) this.#letGo();
      if (publication === this.voice) this.#letGoVoice();
      lost();
      note('not restored', fault.message, 'bad');
    }, { signal });
    media.on('fault', ({ fault }) => note('media', `${fault.code}: ${fault.message}`, 'warn'), { signal });
    media.receive(true);
  }

  /** The picture that is looked at: this participant's own, else the first that is there. @returns {Tile | undefined} */
  get returned() {
    const own = this.tiles.get(`${this.#session.participant}/${NAME}`);
    return own ?? this.tiles.values().next().value;
  }

  /** The same, for who wants to know what came of it: nothing is to come of one that is muted. */
  get awaited() {
    const { returned } = this;
    return returned && !this.#isMutedAt(returned) ? returned.returned : undefined;
  }

  /** @param {Tile} tile */
  #isMutedAt({ participant, track }) {
    return (this.#session.snapshot.tracks ?? []).some((one) => one.participant === participant && one.track === track && one.muted);
  }

  /** Sends a picture. @param {'pattern' | 'camera'} source */
  async send(source) {
    const before = this.#wanted;
    this.#wanted = source;
    // Somebody is asked for the camera, who may take their time.
    try {
      if (source === 'camera' && this.camera?.readyState !== 'live') await this.#openCamera();
    } catch (error) {
      if (this.#wanted === source) this.#wanted = before;
      throw error;
    }
    await this.#inTurn('picture', () => this.#send(source));
  }

  async #send(source) {
    if (source !== this.#wanted) {
      if (this.source !== 'camera') this.#closeCamera();
      return;
    }
    const track = source === 'camera' ? await this.#openCamera() : (this.pattern ??= new Pattern()).track;
    if (this.#isClosed) return;
    const before = this.source;
    this.source = source;
    if (source !== 'camera') this.#closeCamera();
    if (source !== 'pattern') this.#closePattern();
    this.#stands(false);
    this.#show(track);
    if (!this.publication) {
      await this.#publish(track);
      return;
    }
    await this.publication.replaceTrack(track);
    await this.#settle(this.publication);
    if (before !== source) this.#note('replaced', source === 'camera' ? 'The camera is sent now.' : 'The test picture is sent now.');
  }

  async #publish(track) {
    try {
      const publication = await this.#session.media.publish(track, { name: NAME, muted: this.isMuted });
      if (!this.#isClosed) this.publication = publication;
    } catch (error) {
      this.#letGo();
      throw error;
    }
  }

  /** The source stands still, or goes on. Nobody is told: what is neither muted nor over is missed. */
  freeze() {
    return this.#inTurn('picture', async () => {
      const { camera, publication } = this, video = $('local-video');
      if (!publication) return;
      this.#stands(!this.isFrozen);
      if (this.isFrozen) video.pause();
      else video.play().catch(() => {});
      // Whichever transport comes, it is given the same.
      if (camera) await publication.replaceTrack(this.isFrozen ? still() : camera);
    });
  }

  /** @param {boolean} isFrozen */
  #stands(isFrozen) {
    this.isFrozen = isFrozen;
    if (this.pattern) this.pattern.frozen = isFrozen;
  }

  /** Sends nothing any more; quietly, for it is meant. */
  stop() {
    this.#wanted = 'none';
    return this.#inTurn('picture', async () => {
      const { publication } = this;
      this.#letGo();
      await publication?.unpublish();
    });
  }

  /** Nothing is on that is not sent. */
  #letGo() {
    this.publication = undefined;
    this.source = 'none';
    this.#stands(false);
    this.#closeCamera();
    this.#closePattern();
    this.#show(undefined);
  }

  #letGoVoice() {
    this.voice?.track.stop();
    this.voice = undefined;
    this.speaks = false;
  }

  /** @param {'picture' | 'voice'} of @param {() => Promise<unknown>} step */
  #inTurn(of, step) {
    const done = this.#turns[of].then(() => (this.#isClosed ? undefined : step()));
    this.#turns[of] = done.catch(() => {});
    return done;
  }

  /** The picture and the voice. @param {boolean} muted */
  async mute(muted) {
    this.isMuted = muted;
    await Promise.all([...this.#session.media.publications.values()].map((one) => this.#settle(one)));
  }

  /** As muted as is wanted; one whose device has ended was muted by that. */
  async #settle(publication) {
    if (publication.muted === this.isMuted || publication.track.readyState === 'ended') return;
    await (this.isMuted ? publication.mute() : publication.unmute());
  }

  /** Lets go of everything. */
  close() {
    this.#isClosed = true;
    this.#off.abort();
    this.#letGo();
    this.#letGoVoice();
    for (const key of [...this.tiles.keys(), ...this.#voices.keys()]) this.#drop(key);
  }

  async #openCamera() {
    if (this.camera?.readyState === 'live') return this.camera;
    const stream = await devices().getUserMedia({ video: { width: 640, height: 360, frameRate: 30 } });
    const [camera] = stream.getVideoTracks();
    if (this.#isClosed) camera.stop();
    else if (this.camera?.readyState === 'live') camera.stop(); // Asked for twice.
    else this.camera = camera;
    return this.camera ?? camera;
  }

  #closeCamera() {
    this.camera?.stop();
    this.camera = undefined;
  }

  #closePattern() {
    this.pattern?.close();
    this.pattern = undefined;
  }

  #show(track) {
    $('local-video').srcObject = track ? new MediaStream([track]) : null;
    $('local').dataset.flows = track ? 'yes' : 'no';
  }

  /** Sends the microphone as well, or no longer. @param {boolean} isOn */
  speak(isOn) {
    this.speaks = isOn;
    return this.#inTurn('voice', async () => {
      if (this.speaks === Boolean(this.voice)) return;
      if (this.speaks) return this.#publishVoice();
      const { voice } = this;
      this.#letGoVoice();
      await voice.unpublish();
    });
  }

  async #publishVoice() {
    /** @type {MediaStreamTrack | undefined} */
    let track;
    try {
      [track] = (await devices().getUserMedia({ audio: true })).getAudioTracks();
      if (!this.#isClosed && this.speaks) this.voice = await this.#session.media.publish(track, { name: 'microphone', muted: this.isMuted });
    } catch (error) {
      this.speaks = false;
      throw error;
    } finally {
      if (this.#isClosed || !this.voice) track?.stop();
    }
  }

  /** Whether the others are heard. @param {boolean} isOn */
  hear(isOn) {
    this.isHeard = isOn;
    for (const audio of this.#voices.values()) audio.muted = !isOn;
  }

  /** Sound has no pane; one's own is not played back. */
  #listen(key, participant, stream) {
    if (participant === this.#session.participant || this.#voices.has(key)) return;
    const audio = make('audio', { autoplay: true, muted: !this.isHeard, srcObject: stream });
    audio.play().catch(() => {}); // Allowed once somebody has asked for sound.
    this.#voices.set(key, audio);
  }

  #place({ participant, track, kind, stream, mediaTrack }) {
    const key = `${participant}/${track}`;
    if (kind === 'audio') return this.#listen(key, participant, stream);
    const tile = this.tiles.get(key) ?? this.#create(key, participant, track);
    tile.take(stream, mediaTrack);
  }

  #create(key, participant, track) {
    const isOwn = participant === this.#session.participant;
    const tile = new Tile(participant, track, isOwn, () => this.pattern, () => {
      if (this.firstMs !== undefined) return;
      this.firstMs = performance.now() - this.#began;
      this.#note('first picture', `after ${span(this.firstMs)}`, 'good');
    });
    this.tiles.set(key, tile);
    $('panes').append(tile.node);
    return tile;
  }

  #remove({ participant, track }) {
    this.#drop(`${participant}/${track}`);
  }

  #drop(key) {
    const audio = this.#voices.get(key);
    if (audio) audio.srcObject = null;
    this.#voices.delete(key);
    this.tiles.get(key)?.close();
    this.tiles.delete(key);
  }

  /** @param {{ model: import('./model.js').Model, mayPublish: boolean, stands: boolean }} about */
  draw({ model, mayPublish, stands }) {
    const names = new Map((this.#session.snapshot.participants ?? []).map((one) => [one.participant, one.subject]));
    for (const tile of this.tiles.values()) tile.draw({ name: names.get(tile.participant), isMuted: this.#isMutedAt(tile), speaks: model.speaking.has(tile.participant), status: model.status });
    keepFocus($('controls'), () => this.#drawControls(mayPublish, stands), () => ($('use-pattern').matches(':enabled') ? $('use-pattern') : $('main')));
    const { publication, source, pattern, returned } = this;
    const isSent = source !== 'none' && publication?.track.readyState !== 'ended';
    $('local').hidden = !mayPublish;
    $('local').dataset.flows = isSent && !this.isMuted ? 'yes' : 'no';
    put($('local-veil'), isSent && this.isMuted ? 'Muted' : mayPublish ? 'Nothing is sent' : 'You are watching');
    put($('local-facts'), source === 'pattern' && pattern ? `frame ${pattern.frame}` : source === 'camera' ? 'camera' : '');
    const seen = returned?.returned;
    $('figures').hidden = !returned && this.firstMs === undefined && !this.#returns;
    put($('fig-frames'), seen ? `${seen.frames}` : '–');
    put($('fig-rate'), seen ? `${seen.rate()} / s` : '–');
    put($('fig-delay'), !seen?.isNumbered || seen.delayMs === undefined ? '–' : span(seen.delayMs));
    put($('fig-lost'), seen?.isNumbered ? `${seen.lost}` : '–');
    put($('fig-first'), this.firstMs === undefined ? '–' : span(this.firstMs));
  }

  #drawControls(mayPublish, stands) {
    const { publication, source, speaks } = this;
    $('use-pattern').setAttribute('aria-pressed', String(source === 'pattern'));
    $('use-camera').setAttribute('aria-pressed', String(source === 'camera'));
    for (const id of ['use-pattern', 'use-camera', 'speak']) $(id).disabled = !mayPublish || !stands;
    $('mute').setAttribute('aria-pressed', String(this.isMuted));
    $('stop').disabled = !publication;
    $('speak').setAttribute('aria-pressed', String(speaks));
    $('hear').setAttribute('aria-pressed', String(this.isHeard));
    for (const id of ['choice', 'mute', 'stop', 'speak']) $(id).hidden = !mayPublish;
  }
}

/** One picture that is received. */
export class Tile {
  returned = new Returned();
  #stop = () => {};
  #pattern;
  #first;

  constructor(participant, track, isOwn, pattern, first) {
    Object.assign(this, { participant, track, isOwn });
    this.#pattern = pattern;
    this.#first = first;
    this.video = make('video', { autoplay: true, muted: true, playsInline: true, ariaLabel: isOwn ? 'The picture that returns' : 'A picture that is received' });
    this.veil = make('p', { kind: 'veil', text: 'Waiting for a picture' });
    this.title = make('strong', { text: isOwn ? 'Returned' : 'Received' });
    this.facts = make('span', { kind: 'figure' });
    this.node = make('figure', { kind: 'pane', children: [
      make('div', { kind: 'screen', children: [this.video, this.veil] }),
      make('figcaption', { children: [this.title, this.facts] }),
    ] });
  }

  /** The stream stays the same over recoveries; what is in it may not. */
  take(stream, mediaTrack) {
    if (this.video.srcObject !== stream) this.video.srcObject = stream;
    this.video.play().catch(() => {}); // A browser that does not let it play shows it stopped.
    this.#stop();
    this.#stop = watch(mediaTrack, this.video, (image, width, height) => {
      this.returned.take(image, width, height, this.#pattern());
      if (this.returned.frames === 1) this.#first();
    });
  }

  draw({ name, isMuted, speaks, status }) {
    const { returned, isOwn } = this;
    const flows = returned.at > 0 && performance.now() - returned.at < STILL_MS;
    this.node.dataset.flows = flows && !isMuted ? 'yes' : 'no';
    this.node.classList.toggle('speaks', speaks);
    put(this.title, isOwn ? 'Returned' : name ?? this.participant);
    const media = status.legs?.find(({ leg }) => leg === 'media');
    const trouble = !media || media.health === 'up' ? 'The picture stands still' : media.health === 'down' ? 'Given up; you can try again' : 'The picture stands still; it is being repaired';
    put(this.veil, isMuted ? 'Muted' : returned.at === 0 ? 'Waiting for a picture' : trouble);
    const number = returned.isNumbered ? `frame ${returned.number}` : '';
    put(this.facts, [number, returned.at > 0 ? `${returned.rate()} / s` : '', returned.delayMs === undefined || !returned.isNumbered ? '' : span(returned.delayMs)].filter(Boolean).join(' · '));
  }

  close() {
    this.#stop();
    this.video.srcObject = null;
    this.node.remove();
  }
}
