// Which codecs a line offers: those that a server may pass on. A browser's whole list, several profiles of
// each with their repair streams, is twice as long, and a description of a room is to fit into a frame.

/** Repair by other means than retransmission, packets without fragmentation, and profiles that no camera has. */
const IS_SPARE = /^video\/(?:red|ulpfec|flexfec)|packetization-mode=0|profile-level-id=f4|VP9 .*profile-id=[1-9]|AV1 .*profile=[1-9]/;

/**
 * The codecs to offer for a kind; undefined where the browser's own list stands.
 * @param {string} kind
 * @returns {RTCRtpCodec[] | undefined}
 */
export function codecsFor(kind) {
  if (kind !== 'video') return undefined;
  const codecs = globalThis.RTCRtpReceiver?.getCapabilities?.(kind)?.codecs;
  return codecs?.filter(({ mimeType, sdpFmtpLine }) => !IS_SPARE.test(`${mimeType} ${sdpFmtpLine ?? ''}`));
}

/** @param {RTCRtpTransceiver} line */
export function prefer(line) {
  const codecs = codecsFor(line.receiver.track.kind);
  if (codecs?.some(({ mimeType }) => !/rtx/.test(mimeType))) line.setCodecPreferences?.(codecs);
}
