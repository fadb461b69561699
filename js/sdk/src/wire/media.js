// The frames about media, which only a client with a leg for it reads. Mirrors `keel-wire/src/media.rs`.

import { filled, id, list, object, optional, string, u32 } from './codec.js';
import { FRAMES } from './frame.js';

const line = object({ mid: string, participant: optional(id), track: id });
const ice_servers = list(object({ urls: list(string), username: optional(string), credential: optional(string) }));
const description = { peer: u32, sdp: string, lines: filled(list(line)) };

/** @type {Record<string, import('./codec.js').Members>} */
export const MEDIA_FRAMES = {
  welcome: { ...FRAMES.welcome, peer: optional(u32), ice_servers: filled(ice_servers) },
  offer: description,
  answer: description,
  candidate: { peer: u32, candidate: string },
  lines: { peer: u32, lines: list(line) },
  ice_servers: { ice_servers },
};
