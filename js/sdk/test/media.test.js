// Media over transports that are models: what is published and received, and what becomes of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { fromCamera, media } from '../src/media.js';
import { ModelTrack, agreed, answerTo, published, receipt, reconnected, rig, settled, withMedia } from './media-rig.js';
import { fault, welcome } from './rig.js';

/** Where an offer receives a picture. */
const receivingLine = ({ sdp }) => JSON.parse(sdp).find(({ kind, direction }) => kind === 'video' && direction === 'recvonly').mid;
const own = (mid, track = 'camera') => ({ mid, participant: 'p-1', track });

test('a_track_is_announced_offered_and_named_on_its_line', async () => {
  const parts = await withMedia();
  const { media, socket, made } = parts;
  const publishing = media.publish(new ModelTrack('video'));
  const sound = media.publish(new ModelTrack('audio'), { name: 'mic' });
  await settled();
  assert.deepEqual(socket.got('command').map(({ name, data }) => [name, data]), [
    ['track.publish', { track: 'camera', kind: 'video' }], ['track.publish', { track: 'mic', kind: 'audio' }],
  ]);
  socket.say(receipt(1), receipt(2));
  assert.equal((await publishing).name, 'camera');
  assert.equal((await sound).kind, 'audio');
  const [offer] = socket.got('offer');
  assert.deepEqual([offer.peer, offer.lines, offer.settled], [1, [{ mid: '0', track: 'camera' }, { mid: '1', track: 'mic' }], true]);
  assert.deepEqual(JSON.parse(offer.sdp).map(({ direction }) => direction), ['sendonly', 'sendonly'], 'nothing is received that nobody asked for');
  await agreed(parts);
  assert.equal(made[0].signalingState, 'stable');
  await parts.session.close();
});

test('lines_to_receive_on_are_brought_along_so_that_the_server_has_none_to_offer', async () => {
  const parts = await withMedia({ receive: true });
  await published(parts, { lines: [own('2')] });
  const first = parts.socket.got('offer')[0];
  assert.deepEqual(JSON.parse(first.sdp).map(({ kind, direction }) => `${kind} ${direction}`), ['audio recvonly', 'video recvonly'], 'before anything is published');
  const last = parts.socket.got('offer').at(-1);
  assert.equal(last.settled, false);
  assert.deepEqual(JSON.parse(last.sdp).map(({ kind, direction }) => `${kind} ${direction}`), ['audio recvonly', 'video recvonly', 'video sendonly']);
  parts.media.receive(false);
  await settled();
  assert.deepEqual(JSON.parse(parts.socket.got('offer').at(-1).sdp).map(({ direction }) => direction), ['inactive', 'inactive', 'sendonly']);
  await parts.session.close();
});

test('what_is_published_muted_sends_nothing_until_it_is_unmuted', async () => {
  const parts = await withMedia();
  const { media, socket } = parts;
  const track = new ModelTrack('audio');
  const publishing = media.publish(track, { muted: true });
  assert.equal(media.publications.get('microphone').muted, true, 'before the server has said anything');
  await settled();
  assert.deepEqual(socket.got('command').map(({ name, data }) => [name, data]), [
    ['track.publish', { track: 'microphone', kind: 'audio' }], ['track.mute', { track: 'microphone', muted: true }],
  ]);
  socket.say(receipt(1), receipt(2));
  const publication = await publishing;
  await agreed(parts);
  const [{ sender }] = parts.made[0].getTransceivers();
  assert.equal(sender.track, null);
  const unmuting = publication.unmute();
  await settled();
  socket.say(receipt(3));
  await unmuting;
  assert.deepEqual([sender.track, publication.muted], [track, false]);
  await parts.session.close();
});

test('what_was_published_before_a_reload_goes_on_if_it_is_published_again_and_else_is_taken_back', async () => {
  const parts = await withMedia();
  const { socket, time, log, made } = parts;
  for (const [participant, track, kind] of [['p-1', 'camera', 'video'], ['p-1', 'microphone', 'audio'], ['p-2', 'camera', 'video']]) log('track.published', { participant, track, kind });
  await published(parts);
  made[0].becomes('connected');
  await time.pass(4_900);
  const taken = () => socket.got('command').filter(({ name }) => name === 'track.unpublish').map(({ data }) => data);
  assert.deepEqual(taken(), [], 'it may be on its way');
  await time.pass(100);
  assert.deepEqual(taken(), [{ track: 'microphone' }]);
  await parts.session.close();
});

test('what_is_published_again_after_a_reload_is_as_muted_as_it_is_now_and_not_as_it_was', async () => {
  const parts = await withMedia({ receive: true });
  const { socket, media, log, made } = parts;
  await agreed(parts);
  made[0].becomes('connected');
  log('track.published', { participant: 'p-1', track: 'camera', kind: 'video' });
  log('track.muted', { participant: 'p-1', track: 'camera', muted: true });
  await settled();
  media.publish(new ModelTrack()).catch(() => {});
  media.publish(new ModelTrack(), { name: 'other' }).catch(() => {});
  await settled();
  assert.deepEqual(socket.got('command').map(({ name, data }) => [name, data.track, data.muted]), [
    ['track.publish', 'camera', undefined], ['track.mute', 'camera', false], ['track.publish', 'other', undefined],
  ]);
  await parts.session.close();
});

test('one_that_is_muted_before_the_server_has_taken_it_is_muted', async () => {
  const parts = await withMedia();
  const { media, socket } = parts;
  const publishing = media.publish(new ModelTrack());
  const muting = media.publications.get('camera').mute();
  await settled();
  assert.deepEqual(socket.got('command').map(({ name }) => name), ['track.publish', 'track.mute']);
  socket.say(receipt(1), receipt(2));
  await muting;
  assert.equal((await publishing).muted, true);
  await agreed(parts);
  assert.equal(parts.made[0].getTransceivers()[0].sender.track, null);
  await parts.session.close();
});

test('what_the_server_refuses_is_thrown_and_not_published', async () => {
  const parts = await withMedia();
  const { media, socket } = parts;
  const publishing = media.publish(new ModelTrack());
  await settled();
  socket.say(receipt(1, fault('permission_denied').fault));
  await assert.rejects(publishing, { code: 'permission_denied' });
  assert.equal(media.publications.size, 0);
  await parts.session.close();
});

test('what_makes_no_sense_is_refused_typed', async () => {
  const parts = await withMedia();
  const { media } = parts;
  await assert.rejects(media.publish(undefined), { code: 'invalid_request' });
  await assert.rejects(media.publish(new ModelTrack(), { name: 'My Camera' }), { code: 'invalid_request' });
  const { publication } = await published(parts);
  await assert.rejects(media.publish(new ModelTrack(), { name: 'camera' }), { code: 'invalid_request' });
  await assert.rejects(publication.replaceTrack(new ModelTrack('audio')), { code: 'invalid_request' });
  await parts.session.close();
  const { connecting, server } = rig();
  await settled();
  server.last.open();
  server.last.say(welcome(), { type: 'replayed', to: 0 });
  const without = await connecting;
  assert.throws(() => without.media, { code: 'invalid_request' });
  await without.close();
});

test('publishing_is_given_up_by_its_signal_and_taken_back', async () => {
  const parts = await withMedia();
  const { media, socket } = parts;
  const stop = new AbortController();
  const publishing = media.publish(new ModelTrack(), { signal: stop.signal });
  await settled();
  stop.abort(new Error('enough'));
  await assert.rejects(publishing, { message: 'enough' });
  assert.equal(media.publications.size, 0);
  socket.say(receipt(1));
  await settled();
  assert.deepEqual(socket.got('command').at(-1).data, { track: 'camera' }, 'what was done meanwhile is undone');
  assert.equal(socket.got('command').at(-1).name, 'track.unpublish');
  await parts.session.close();
});

test('of_two_offers_that_meet_the_servers_stands_and_ours_is_made_again_v13', async () => {
  const parts = await withMedia({ receive: true });
  const { socket, made } = parts;
  await published(parts);
  parts.media.publish(new ModelTrack('audio')).catch(() => {});
  await settled();
  const [pc] = made;
  const ours = socket.got('offer').at(-1);
  if (pc.signalingState !== 'have-local-offer') throw new Error('an offer of ours must be under way');
  const lines = JSON.parse(pc.remoteDescription.sdp).map(({ mid, kind }) => ({ mid, kind }));
  socket.say({ type: 'offer', peer: 1, sdp: JSON.stringify([...lines, { mid: 'theirs', kind: 'video' }]), lines: [{ mid: 'theirs', participant: 'p-2', track: 'camera' }] });
  await settled();
  const answer = socket.got('answer').at(-1);
  assert.ok(answer && socket.sent.indexOf(answer) > socket.sent.indexOf(ours));
  const again = socket.got('offer').at(-1);
  assert.ok(socket.sent.indexOf(again) > socket.sent.indexOf(answer), 'ours comes after it, anew');
  assert.notEqual(again, ours);
  socket.say(answerTo(again));
  await settled();
  assert.equal(pc.signalingState, 'stable');
  assert.equal(parts.media.streams.get('p-2')?.getTracks()[0], pc.on('theirs'));
  assert.deepEqual(parts.faults, []);
  await parts.session.close();
});

test('of_several_offers_only_the_last_ones_answer_counts', async () => {
  const parts = await withMedia();
  const { socket, made, time } = parts;
  await published(parts);
  const [pc] = made;
  parts.media.publish(new ModelTrack('audio')).catch(() => {});
  await settled();
  const first = socket.got('offer').at(-1);
  await reconnected(parts, { peer: 1 });
  const second = parts.server.last.got('offer').at(-1);
  assert.equal(second.sdp, first.sdp, 'what was under way is said again on the new connection');
  assert.equal(pc.signalingState, 'have-local-offer');
  parts.server.last.say(answerTo(second));
  await settled();
  assert.equal(pc.signalingState, 'stable');
  parts.server.last.say(answerTo(second));
  await settled();
  assert.deepEqual(parts.faults, [], 'one too many changes nothing');
  await time.pass(11_000);
  await parts.session.close();
});

test('an_offer_that_nobody_answers_is_said_again', async () => {
  const parts = await withMedia();
  const { socket, time } = parts;
  await published(parts);
  parts.made[0].becomes('connected');
  parts.media.publish(new ModelTrack('audio')).catch(() => {});
  await settled();
  assert.equal(socket.got('offer').length, 2);
  for (let passed = 0; passed < 6_000; passed += 2_000) {
    socket.say({ type: 'beat', n: passed + 1, seq: 0 });
    await time.pass(2_000);
  }
  assert.equal(socket.got('offer').length, 3);
  await agreed(parts);
  assert.equal(parts.made[0].signalingState, 'stable');
  await parts.session.close();
});

test('a_refused_offer_is_said_again_with_what_is_certain_and_not_for_ever', async () => {
  const parts = await withMedia();
  const { socket, made } = parts;
  await published(parts);
  made[0].becomes('connected');
  parts.media.publish(new ModelTrack('audio')).catch(() => {});
  await settled();
  const refused = (peer) => socket.say({ type: 'fault', fault: { ...fault('media_refused', { when: 'never' }, 'attachment').fault, leg: 'media', detail: { peer } } }, { type: 'beat', n: 1, seq: 0 });
  const camera = { mid: '0', track: 'camera' };
  assert.deepEqual(socket.got('offer')[1].lines, [camera, { mid: '1', track: 'microphone' }]);
  refused(7);
  refused(undefined);
  await settled();
  assert.equal(socket.got('offer').length, 2, 'that was something else');
  refused(1);
  await settled();
  assert.deepEqual(socket.got('offer')[2].lines, [camera], 'the server has not said that it has the other');
  for (let n = 0; n < 3; n += 1) {
    refused(1);
    await settled();
  }
  assert.equal(socket.got('offer').filter(({ peer }) => peer === 1).length, 5);
  assert.deepEqual(parts.faults.map(({ code }) => code), ['media_failed']);
  await parts.session.close();
});

test('candidates_wait_for_the_description_and_are_bounded_both_ways_v14', async () => {
  const parts = await withMedia();
  const { socket, made } = parts;
  parts.media.publish(new ModelTrack()).catch(() => {});
  await settled();
  const [pc] = made;
  for (let n = 0; n < 50; n += 1) socket.say({ type: 'candidate', peer: 1, candidate: n === 3 ? 'broken' : `candidate:${n}` });
  await settled();
  assert.deepEqual(pc.candidates, []);
  await agreed(parts);
  assert.equal(pc.candidates.length, 19, 'twenty, but for the one that cannot be read');
  socket.say({ type: 'candidate', peer: 1, candidate: '' }, { type: 'candidate', peer: 7, candidate: 'of another' });
  await settled();
  assert.equal(pc.candidates.at(-1), '');
  pc.finds('candidate:1 1 udp 1 4f0d1bd5-9f3b-4b6e-8f5f-1.local 50000 typ host');
  for (let n = 0; n < 50; n += 1) pc.finds(`candidate:${n} 1 udp 1 10.0.0.1 ${50_000 + n} typ host`);
  pc.finds(null);
  assert.equal(socket.got('candidate').length, 20);
  assert.ok(!socket.got('candidate').some(({ candidate }) => candidate.includes('.local')));
  pc.becomes('connected');
  pc.becomes('failed');
  await agreed(parts);
  assert.equal(pc.fragment, 2);
  pc.finds('candidate:1 1 udp 1 192.168.1.7 50000 typ host');
  assert.equal(socket.got('candidate').at(-1).candidate, 'candidate:1 1 udp 1 192.168.1.7 50000 typ host', 'of another network, after a restart');
  await parts.session.close();
});

test('a_description_that_the_server_would_not_take_is_a_fault_and_is_not_said', async () => {
  const parts = await withMedia();
  const { socket, made } = parts;
  const { publication } = await published(parts);
  made[0].becomes('connected');
  made[0].codecs = ' '.repeat(40_000);
  parts.media.publish(new ModelTrack('audio')).catch(() => {});
  await settled();
  assert.equal(socket.got('offer').length, 1);
  assert.deepEqual([parts.faults[0].code, parts.faults[0].detail.peer, made[0].signalingState], ['media_failed', 1, 'stable'], 'what was agreed on goes on');
  assert.match(parts.faults[0].message, /80\d+ characters/);
  publication.unpublish().catch(() => {});
  await parts.session.close();

  const first = await withMedia();
  const set = first.ModelConnection.prototype.setLocalDescription;
  first.ModelConnection.prototype.setLocalDescription = function large(description) {
    this.codecs = ' '.repeat(70_000);
    return set.call(this, description);
  };
  first.media.publish(new ModelTrack()).catch(() => {});
  await settled();
  assert.deepEqual([first.socket.got('offer').length, first.faults[0].code], [0, 'media_failed'], 'the first is the end of its transport');
  assert.notEqual(first.session.status.state, 'live');
  await first.session.close();
});

test('lines_for_which_there_is_no_room_are_not_taken_and_what_there_is_goes_on', async () => {
  const parts = await withMedia({ receive: true });
  const { socket, made, faults } = parts;
  await published(parts);
  const [pc] = made;
  pc.becomes('connected');
  pc.codecs = ' '.repeat(18_000);
  const known = JSON.parse(pc.remoteDescription.sdp).map(({ mid, kind }) => ({ mid, kind }));
  const offers = socket.got('offer').length;
  socket.say({ type: 'offer', peer: 1, sdp: JSON.stringify([...known, { mid: 'x', kind: 'video' }]), lines: [] });
  await settled();
  assert.deepEqual(socket.got('answer'), []);
  assert.deepEqual(socket.got('offer').slice(offers).map(({ settled, sdp }) => [settled, JSON.parse(sdp).length]), [[true, known.length]], 'no more offers, please');
  await agreed(parts);
  assert.deepEqual([faults.length, pc.signalingState, parts.session.status.state], [1, 'stable', 'live']);
  await parts.session.close();
});

test('a_transport_that_cannot_be_made_is_a_fault_and_no_exception', async () => {
  const parts = await withMedia();
  parts.ModelConnection.refuses = 'too many';
  parts.media.publish(new ModelTrack()).catch(() => {});
  await settled();
  assert.match(parts.faults[0].message, /too many/);
  await parts.session.close();
});

test('the_stream_of_a_participant_stays_the_same_object_and_never_goes_dark_m36', async () => {
  const parts = await withMedia({ receive: true });
  const { media, server, made, told, log } = parts;
  const { track: camera, publication } = await published(parts, { lines: [own('1')] });
  const stream = media.streams.get('p-1');
  const [first] = made;
  first.becomes('connected');
  first.on('1').flow();
  assert.deepEqual(told.map(({ type, participant, track, kind }) => [type, participant, track, kind]), [['track', 'p-1', 'camera', 'video']]);
  assert.equal(told[0].stream, stream);
  assert.equal(told[0].mediaTrack, first.on('1'));

  const another = new ModelTrack();
  await publication.replaceTrack(another);
  assert.deepEqual(Object.values(first.sends), [another], 'nothing is agreed on anew');
  await reconnected(parts, { peer: undefined });
  const second = made[1];
  await settled();
  const offer = server.last.got('offer').at(-1);
  assert.equal(offer.peer, 2);
  assert.ok(Object.values(second.sends).includes(another) && !Object.values(second.sends).includes(camera), 'what was put in place is what is sent');
  const receives = JSON.parse(offer.sdp).find(({ kind, direction }) => kind === 'video' && direction === 'recvonly').mid;
  server.last.say(answerTo(offer, [own(receives)]));
  await settled();
  assert.equal(stream.getTracks()[0], first.on('1'), 'the last picture stands until there is another');
  assert.equal(first.connectionState, 'connected', 'the old one is there until the new one is connected');
  second.on(receives).flow();
  assert.deepEqual(stream.getTracks(), [second.on(receives)]);
  second.becomes('connected');
  assert.equal(first.connectionState, 'closed');
  assert.deepEqual([media.streams.get('p-1') === stream, stream.wentDark], [true, false]);
  assert.equal(told.at(-1).type, 'track_replaced');
  log('track.unpublished', { participant: 'p-1', track: 'camera' });
  await settled();
  assert.equal(told.at(-1).type, 'track_removed');
  assert.deepEqual(stream.getTracks(), []);
  await parts.session.close();
});

test('a_transport_that_comes_to_nothing_takes_none_along_that_is_kept_m36', async () => {
  const parts = await withMedia({ receive: true });
  const { made } = parts;
  await published(parts, { lines: [own('1')] });
  made[0].becomes('connected');
  made[0].on('1').flow();
  await reconnected(parts, { peer: undefined });
  await reconnected(parts, { peer: undefined });
  assert.deepEqual([made.length, made[0].connectionState, made[1].connectionState], [3, 'connected', 'closed'], 'a picture is kept until there is another');
  const mid = receivingLine(parts.server.last.got('offer').at(-1));
  await agreed(parts, [own(mid)]);
  made[2].on(mid).flow();
  made[2].becomes('connected');
  await settled();
  assert.equal(made[0].connectionState, 'closed');
  assert.deepEqual(parts.media.streams.get('p-1').getTracks(), [made[2].on(mid)]);
  await parts.session.close();
});

test('what_is_said_of_the_transport_before_takes_no_line_from_the_next_m36', async () => {
  const parts = await withMedia({ receive: true });
  const { made, server, session } = parts;
  await published(parts, { lines: [own('1')] });
  const [pc] = made;
  pc.becomes('connected');
  pc.on('1').flow();
  const stream = parts.media.streams.get('p-1');
  await reconnected(parts, { peer: undefined });
  const mid = receivingLine(server.last.got('offer').at(-1));
  await agreed(parts, [own(mid)]);
  // Late, or of another that came: both transports are there for a while.
  server.last.say({ type: 'lines', peer: 1, lines: [own('1')] });
  await settled();
  made[1].becomes('connected');
  made[1].on(mid).flow();
  await settled();
  assert.deepEqual(stream.getTracks(), [made[1].on(mid)]);
  assert.equal(stream.wentDark, false);
  await session.close();
});

test('a_mute_that_the_server_did_not_take_is_said_again_after_a_recovery_m18', async () => {
  const parts = await withMedia();
  const { server } = parts;
  const { publication } = await published(parts);
  const muting = publication.mute();
  await settled();
  server.last.say(receipt(server.last.got('command').at(-1).n, fault('rate_limited').fault));
  await assert.rejects(muting, { code: 'rate_limited' });
  assert.equal(publication.muted, true, 'nothing is sent, as it was wanted');
  await reconnected(parts, { peer: 1 });
  const mutes = server.last.got('command').filter(({ name }) => name === 'track.mute');
  assert.deepEqual(mutes.map(({ data }) => data), [{ track: 'camera', muted: true }]);
  parts.log('track.muted', { participant: 'p-1', track: 'camera', muted: true });
  await reconnected(parts, { peer: 1 });
  assert.equal(server.last.got('command').filter(({ n, name }) => name === 'track.mute' && n > mutes[0].n).length, 0);
  await parts.session.close();
});

test('a_track_that_is_replaced_while_its_transport_goes_is_sent_on_the_next_and_nobody_waits_for_ever', async () => {
  const parts = await withMedia();
  const { publication } = await published(parts);
  const { made } = parts;
  made[0].becomes('connected');
  // What a closed connection was asked for is never answered (WebRTC §5.2, replaceTrack).
  for (const { sender } of made[0].getTransceivers()) sender.replaceTrack = () => new Promise(() => {});
  await reconnected(parts, { peer: undefined });
  const next = new ModelTrack();
  const replacing = publication.replaceTrack(next);
  await agreed(parts);
  made[1].becomes('connected');
  await replacing;
  assert.deepEqual(Object.values(made[1].sends), [next]);
  made[1].close();
  for (const { sender } of made[1].getTransceivers()) sender.replaceTrack = async () => { throw new Error('closed'); };
  await publication.replaceTrack(new ModelTrack());
  await parts.session.close();
});

test('a_track_that_has_ended_is_muted_and_told_when_it_replaces_another', async () => {
  const parts = await withMedia();
  const { publication } = await published(parts);
  const ended = new ModelTrack();
  ended.end();
  await publication.replaceTrack(ended);
  assert.deepEqual([publication.muted, parts.told.map(({ type }) => type)], [true, ['publication_ended']]);
  await parts.session.close();
});

test('a_transport_that_is_connected_before_its_first_packet_takes_over_all_the_same', async () => {
  const parts = await withMedia({ receive: true });
  const { media, made, server } = parts;
  await published(parts, { lines: [own('1')] });
  made[0].becomes('connected');
  const stream = media.streams.get('p-1');
  await reconnected(parts, { peer: undefined });
  const offer = server.last.got('offer').at(-1);
  const { mid } = JSON.parse(offer.sdp).find(({ kind, direction }) => kind === 'video' && direction === 'recvonly');
  server.last.say(answerTo(offer, [own(mid)]));
  await settled();
  made[1].becomes('connected');
  assert.deepEqual([stream.getTracks()[0], stream.wentDark], [made[1].on(mid), false], 'before the old one is closed');
  await parts.session.close();
});

test('a_line_that_carries_another_track_is_not_shown_as_the_one_before', async () => {
  const parts = await withMedia({ receive: true });
  const { media, socket, log, told, made } = parts;
  log('participant.joined', { participant: 'p-2', role: 'publisher', subject: 'b' });
  log('track.published', { participant: 'p-2', track: 'camera', kind: 'video' });
  await agreed(parts, [{ mid: '1', participant: 'p-2', track: 'camera' }]);
  made[0].on('1').flow();
  const stream = media.streams.get('p-2');
  socket.say({ type: 'lines', peer: 1, lines: [] });
  await settled();
  assert.deepEqual(stream.getTracks(), [made[0].on('1')], 'who publishes is on the way back: the last picture stands');
  socket.say({ type: 'lines', peer: 1, lines: [{ mid: '1', participant: 'p-3', track: 'camera' }] });
  await settled();
  assert.deepEqual(stream.getTracks(), []);
  assert.deepEqual(media.streams.get('p-3').getTracks(), [made[0].on('1')]);
  log('participant.left', { participant: 'p-2', reason: 'expired' });
  await settled();
  assert.deepEqual(told.map(({ type, participant }) => `${type} ${participant}`), ['track p-2', 'track p-3', 'track_removed p-2']);
  assert.equal(media.streams.has('p-2'), false);
  await parts.session.close();
});

test('a_line_is_used_again_for_the_next_track_of_its_kind_and_simulcast_keeps_its_own', async () => {
  const parts = await withMedia({ receive: true });
  const { media, socket, made } = parts;
  const { publication } = await published(parts);
  const leaving = publication.unpublish();
  await settled();
  assert.deepEqual(socket.got('offer').at(-1).lines, []);
  socket.say(receipt(socket.got('command').at(-1).n));
  await leaving;
  await agreed(parts);
  const { publication: next } = await published(parts, { name: 'next' });
  assert.deepEqual([socket.got('offer').at(-1).lines, made[0].getTransceivers().length], [[{ mid: '2', track: 'next' }], 3]);
  const encodings = [{ rid: 'h' }, { rid: 'l', scaleResolutionDownBy: 4 }];
  await published(parts, { name: 'layered', encodings });
  assert.deepEqual(made[0].getTransceivers().map((line) => line.encodings), [undefined, undefined, undefined, encodings]);
  assert.equal(next.name, 'next');
  await parts.session.close();
});

test('silence_that_is_meant_is_said_and_a_device_that_ends_is_muted_and_told', async () => {
  const parts = await withMedia();
  const { socket, made, told } = parts;
  const { publication, track } = await published(parts);
  const muting = publication.mute();
  await settled();
  assert.deepEqual([socket.got('command').at(-1).name, socket.got('command').at(-1).data], ['track.mute', { track: 'camera', muted: true }]);
  socket.say(receipt(socket.got('command').at(-1).n));
  await muting;
  assert.deepEqual([Object.values(made[0].sends), publication.track, publication.muted], [[null], track, true]);
  const unmuting = publication.unmute();
  await settled();
  socket.say(receipt(socket.got('command').at(-1).n));
  await unmuting;
  assert.deepEqual(Object.values(made[0].sends), [track]);
  track.end();
  assert.deepEqual([told.at(-1).type, told.at(-1).publication, publication.muted], ['publication_ended', publication, true]);
  const next = new ModelTrack();
  await publication.replaceTrack(next);
  track.end();
  assert.equal(told.filter(({ type }) => type === 'publication_ended').length, 1, 'the one before is no longer listened to');
  await parts.session.close();
});

test('who_comes_back_as_another_publishes_again_or_hears_why_not', async () => {
  const parts = await withMedia();
  const { server, media, told } = parts;
  const { publication } = await published(parts);
  const wish = media.subscribe('p-2', 'camera', { max: 'low' });
  await settled();
  server.last.say(receipt(server.last.got('command').at(-1).n));
  await wish;
  const speaking = [];
  media.on('speaking', (event) => speaking.push(event));
  server.last.say({ type: 'ephemeral', kind: 'speaking', data: { participant: 'p-2', track: 'camera' } }, { type: 'ephemeral', kind: 'speaking', data: {} });
  assert.deepEqual(speaking, [{ participant: 'p-2', track: 'camera' }, {}]);
  await reconnected(parts, { participant: 'p-9', how: 'joined', consumed: 2 });
  const again = server.last.got('command').filter(({ name }) => name === 'track.publish');
  assert.deepEqual(again.map(({ data }) => data.track), ['camera']);
  const wishes = server.last.got('command').filter(({ name }) => name === 'track.subscribe');
  assert.deepEqual(wishes.at(-1).data, { participant: 'p-2', track: 'camera', wanted: true, max: 'low' });
  server.last.say(receipt(again[0].n, fault('session_limit').fault));
  await settled();
  assert.deepEqual([told.at(-1).type, told.at(-1).publication, told.at(-1).fault.code, media.publications.size], ['publication_lost', publication, 'session_limit', 0]);
  await parts.session.close();
});

test('ice_servers_come_with_the_welcome_and_fresh_ones_are_used_from_then_on_a54', async () => {
  const parts = await withMedia();
  const fresh = [{ urls: ['turn:t.example'], username: 'u', credential: 'c' }];
  parts.socket.say({ type: 'ice_servers', ice_servers: fresh });
  await published(parts);
  assert.deepEqual(parts.made[0].config.iceServers, fresh);
  await parts.session.close();
});

test('a_restart_waits_for_what_is_under_way_and_uses_fresh_servers_v02', async () => {
  const parts = await withMedia();
  const { socket, made } = parts;
  await published(parts);
  const [pc] = made;
  pc.becomes('connected');
  parts.media.publish(new ModelTrack('audio')).catch(() => {});
  await settled();
  const fresh = [{ urls: ['turn:t.example'], username: 'u', credential: 'later' }];
  socket.say({ type: 'ice_servers', ice_servers: fresh });
  pc.becomes('connected', 'disconnected');
  await settled();
  assert.deepEqual([socket.got('offer').length, pc.config.iceServers], [2, fresh], 'the server may have taken what is under way');
  await agreed(parts);
  const fragments = socket.got('offer').map(({ sdp }) => JSON.parse(sdp)[0].fragment);
  assert.deepEqual(fragments, [1, 1, 2]);
  assert.deepEqual(parts.faults, []);
  await parts.session.close();
});

test('a_transport_that_is_to_be_relayed_stays_so_through_a_restart_with_fresh_servers_v12', async () => {
  const parts = await withMedia({ iceTransportPolicy: 'relay' });
  const { socket, made } = parts;
  await published(parts);
  const [pc] = made;
  pc.becomes('connected');
  assert.equal(pc.config.iceTransportPolicy, 'relay');
  const fresh = [{ urls: ['turn:t.example'], username: 'u', credential: 'later' }];
  socket.say({ type: 'ice_servers', ice_servers: fresh });
  pc.becomes('connected', 'disconnected');
  await settled();
  assert.deepEqual([pc.config.iceTransportPolicy, pc.config.iceServers], ['relay', fresh]);
  await parts.session.close();
});

test('a_look_that_the_browser_does_not_answer_ends_and_is_no_sign_of_silence', async () => {
  const parts = await withMedia({ receive: true });
  const { made, time, socket } = parts;
  await published(parts, { lines: [own('1')] });
  const [pc] = made;
  pc.getStats = () => new Promise(() => {});
  pc.becomes('connected');
  pc.on('1').flow();
  for (let n = 0; n < 8; n += 1) {
    socket.say({ type: 'beat', n, seq: 1 });
    await time.pass(1_000);
  }
  assert.equal(parts.session.status.state, 'live');
  await parts.session.close();
});

test('a_track_whose_packets_stay_away_is_told_and_asked_for_anew_v11', async () => {
  const parts = await withMedia({ receive: true });
  const { made, time, socket, session } = parts;
  await published(parts, { lines: [own('1')] });
  const [pc] = made;
  const lost = [];
  session.on('media_lost', ({ fault }) => lost.push([fault.code, fault.detail.track]));
  let packets = 0;
  const flows = () => (pc.report = new Map([['i', { id: 'i', type: 'inbound-rtp', kind: 'video', mid: '1', packetsReceived: (packets += 9), framesDecoded: packets }]]));
  flows();
  pc.becomes('connected');
  for (let n = 0; n < 8; n += 1) {
    flows();
    await time.pass(250);
  }
  assert.deepEqual(lost, []);
  for (let n = 0; n < 6; n += 1) await time.pass(250);
  assert.deepEqual(lost, [['media_stalled', 'camera']]);
  assert.deepEqual(socket.got('refresh').map(({ mids, anew }) => [mids, anew])[0], [['1'], false]);
  assert.notEqual(session.status.state, 'live');
  const back = new Promise((done) => session.on('media_recovered', done));
  flows();
  await time.pass(250);
  flows();
  await time.pass(250);
  assert.equal((await back).strategy, 'fast');
  assert.equal(session.status.state, 'live');
  await session.close();
});

test('after_close_nothing_is_said_and_nothing_is_open_m30', async () => {
  const parts = await withMedia({ receive: true });
  const { made, socket, time, media } = parts;
  const { publication, track } = await published(parts);
  media.publish(new ModelTrack('audio')).catch(() => {});
  await settled();
  await parts.session.close();
  const said = socket.sent.length;
  const [pc] = made;
  assert.equal(pc.connectionState, 'closed');
  pc.becomes('failed');
  pc.finds('candidate:1 1 udp 1 10.0.0.1 50000 typ host');
  track.end();
  await publication.unpublish().catch(() => {});
  media.retry();
  await time.pass(60_000);
  assert.equal(socket.sent.length, said);
  assert.equal(time.pending, 0);
  await assert.rejects(media.publish(new ModelTrack()), { code: 'connection_closed' });
  assert.equal(track.readyState, 'ended', 'only because the test ended it');
});

test('wishes_that_a_restarted_server_has_not_kept_are_said_again_e8', async () => {
  const parts = await withMedia({ receive: true });
  const { media, server, log } = parts;
  for (const participant of ['p-2', 'p-3', 'p-4']) log('track.published', { participant, track: 'camera', kind: 'video' });
  media.subscribe('p-2', 'camera', { max: 'low' });
  media.subscribe('p-3', 'camera', { wanted: false });
  media.subscribe('p-4', 'camera', { wanted: false });
  await settled();
  for (const { n } of server.last.got('command')) server.last.say(receipt(n));
  await settled();
  log('track.unpublished', { participant: 'p-4', track: 'camera' });
  await reconnected(parts);
  const wishes = () => server.last.got('command').filter(({ name }) => name === 'track.subscribe').map(({ data }) => data);
  assert.deepEqual(wishes(), [], 'it may have them still');
  server.last.say({ type: 'ephemeral', kind: 'subscriptions', data: { kept: [{ participant: 'p-2', track: 'camera', wanted: true, max: 'low' }] } });
  await settled();
  assert.deepEqual(wishes(), [{ participant: 'p-3', track: 'camera', wanted: false }], 'and not the one of a track that is gone');
  await parts.session.close();
});

test('figures_for_people_are_named_by_track', async () => {
  const parts = await withMedia({ receive: true });
  const { media, made } = parts;
  await published(parts, { lines: [own('1')] });
  const [pc] = made;
  const at = (packets, timestamp) => new Map([
    ['i', { id: 'i', type: 'inbound-rtp', mid: '1', kind: 'video', packetsReceived: packets, packetsLost: 2, bytesReceived: packets * 1_000, framesDecoded: 9, framesPerSecond: 30, frameWidth: 640, frameHeight: 360, freezeCount: 0, jitter: 0.004, timestamp }],
    ['o', { id: 'o', type: 'outbound-rtp', mid: '2', kind: 'video', packetsSent: packets, bytesSent: packets * 500, framesEncoded: 8, remoteId: 'r', timestamp }],
    ['r', { id: 'r', type: 'remote-inbound-rtp', packetsLost: 1, roundTripTime: 0.02 }],
  ]);
  pc.report = at(10, 1_000);
  await media.stats();
  pc.report = at(20, 2_000);
  const [received, sent] = await media.stats();
  assert.deepEqual([received.direction, received.participant, received.track, received.packets, received.lost, received.bitrate, received.jitter_ms], ['received', 'p-1', 'camera', 20, 2, 80_000, 4]);
  assert.deepEqual([sent.direction, sent.track, sent.packets, sent.lost, sent.bitrate, sent.round_trip_ms], ['sent', 'camera', 20, 1, 40_000, 20]);
  await parts.session.close();
});

test('a_camera_that_is_not_given_is_a_typed_fault', async () => {
  const refusing = (name) => ({ getUserMedia: async () => { throw Object.assign(new Error(name), { name }); } });
  for (const [name, code] of [['NotAllowedError', 'permission_denied'], ['NotFoundError', 'invalid_request'], ['NotReadableError', 'media_failed'], ['TypeError', 'media_failed']]) {
    await assert.rejects(fromCamera({ video: true }, { devices: refusing(name) }), { code });
  }
  await assert.rejects(fromCamera({ video: true }, { devices: null }), { code: 'permission_denied' });
  let grant;
  const track = new ModelTrack();
  const devices = { getUserMedia: () => new Promise((done) => (grant = () => done({ getTracks: () => [track] }))) };
  const stop = new AbortController();
  const asking = fromCamera({ video: true }, { devices, signal: stop.signal });
  stop.abort(new Error('enough'));
  await assert.rejects(asking, { message: 'enough' });
  grant();
  await settled();
  assert.equal(track.readyState, 'ended', 'what is granted too late is let go');
});

test('without_a_transport_class_it_says_what_is_missing', async () => {
  const { connecting, server } = rig({ media: media() });
  await settled();
  server.last.open();
  server.last.say(welcome(), { type: 'replayed', to: 0 });
  const session = await connecting;
  await assert.rejects(session.media.publish(new ModelTrack()), { code: 'invalid_request', message: /peerConnection/ });
  await session.close();
});

test('what_is_no_longer_wanted_leaves_no_transport_and_what_is_wanted_again_gets_another', async () => {
  const parts = await withMedia();
  const { publication, pc } = await published(parts);
  publication.unpublish().catch(() => {});
  await settled();
  assert.equal(pc.connectionState, 'closed');
  await published(parts, { name: 'again' });
  assert.deepEqual([parts.made.length, parts.socket.got('offer').at(-1).peer], [2, 2]);
  await parts.session.close();
});
