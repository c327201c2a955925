import test from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { tryVideo } from '../assets/js/check/tries.js';
import { TRIES, VERDICTS, endOf, label, needs, relaysOf, request, sentence, summary, wayOf } from '../assets/js/check/findings.js';

const turn = (...urls) => ({ site: 'eu-west-1', ice_servers: urls.map((url) => ({ urls: [url], username: 'name', credential: 'secret' })), media_ports: ['20000-20999'] });
const all = turn('turn:turn.example:3478', 'turn:turn.example:3478?transport=tcp', 'turns:turn.example');
const about = { page: 'https://play.example', site: 'eu-west-1', healthy: true, brain: 'wss://brain.example/v1/connect', network: all };

// findings are good but for some, which are verdicts or findings.
const findings = (but = {}) => Object.fromEntries(TRIES.map((id) => {
  const given = but[id] ?? (id === 'seat' ? 'untried' : 'works');
  return [id, typeof given === 'string' ? { verdict: given, ms: 12 } : given];
}));
const kind = (but, more = {}) => summary(findings(but), { ...about, ...more }).kind;
const head = (but, more = {}) => summary(findings(but), { ...about, ...more }).head;

test('a TURN server is tried by the way that its URL names', () => {
  assert.deepEqual(['turn:a', 'turn:a:1?transport=udp', 'turn:a:1?transport=tcp', 'turns:a', 'turns:a:443?transport=tcp'].map(wayOf), ['udp', 'udp', 'tcp', 'tls', 'tls']);
  const { udp, tcp, tls } = relaysOf({ ice_servers: [{ urls: ['turn:a', 'turns:a'], username: 'u', credential: 'c' }] });
  assert.deepEqual(udp, [{ urls: ['turn:a'], username: 'u', credential: 'c' }]);
  assert.deepEqual([tcp.length, tls.length], [0, 1]);
  const none = { udp: [], tcp: [], tls: [] };
  for (const odd of [null, 'portal', { ice_servers: 7 }, { ice_servers: [null, { urls: 'turn:a' }, { urls: [8, 'http:a', 'turn:'] }], media_ports: {} }]) {
    assert.deepEqual(relaysOf(odd), { ...none }, JSON.stringify(odd));
    assert.deepEqual(needs({ ...about, network: odd }).media, []);
  }
  assert.equal(relaysOf({ ice_servers: Array(100).fill({ urls: ['turn:a'] }) }).udp.length, 4, 'a page opens a connection for each');
});

test('hosts and ports are read from all URLs there are', () => {
  assert.deepEqual(endOf('https://play.example'), { host: 'play.example', port: 443 });
  assert.deepEqual(endOf('ws://127.0.0.1:8090/v1/connect'), { host: '127.0.0.1', port: 8090 });
  assert.deepEqual(endOf('turn:turn.example?transport=tcp'), { host: 'turn.example', port: 3478 });
  assert.deepEqual(endOf('turns:[2001:db8::1]:443'), { host: '[2001:db8::1]', port: 443 });
  for (const bad of ['', undefined, 'ftp://a', 'turn:', 'no address']) assert.equal(endOf(bad), null, bad);
});

test('what it means for the person', () => {
  assert.equal(kind({}), 'yes');
  assert.equal(kind({ udp: 'trying' }), 'trying');
  assert.equal(kind({ tcp: 'fails', tls: 'fails' }), 'yes', 'UDP is enough');
  assert.equal(kind({ udp: 'fails' }), 'relay');
  assert.match(summary(findings({ udp: 'fails', tcp: 'fails' }), about).text, /UDP does not get through to the relay, so the video may come by TLS/);
  assert.equal(kind({ udp: 'untried' }), 'yes');
  assert.equal(kind({ udp: 'untried', tcp: 'untried', tls: 'untried' }), 'maybe', 'a site without TURN');
  const blocked = { udp: 'fails', tcp: 'fails', tls: 'fails' };
  assert.equal(head(blocked), 'Your network may block video');
  assert.equal(kind(blocked), 'maybe', 'the way straight to the machine was not tried');
  assert.match(summary(findings(blocked), about).text, /by UDP, TCP or TLS\..*not tried \(UDP or TCP, ports 20000-20999\): press Play/);
  assert.equal(head(blocked, { network: { ...all, media_ports: [] } }), 'Your network blocks video', 'there is no other way');
  assert.match(summary(findings({ ...blocked, tcp: 'untried', tls: 'untried' }), about).text, /by UDP\./, 'only what was tried');
});

test('a network is blamed only where it can be at fault', () => {
  assert.equal(head({ socket: 'fails' }), 'Your network blocks WebSockets');
  assert.equal(head({ brain: 'fails', socket: 'fails' }), 'Your network blocks Ireland');
  assert.equal(head({ page: 'fails', brain: 'fails', socket: 'fails' }), 'Nothing answers');
  assert.equal(head({ brain: 'fails', socket: 'fails' }, { healthy: false }), 'The site is out of service');
  assert.equal(head({ brain: 'untried', socket: 'untried' }, { brain: '' }), 'The site takes nobody now');
  const nowhere = Object.fromEntries(TRIES.filter((id) => id !== 'video').map((id) => [id, 'untried']));
  assert.equal(head({ ...nowhere, page: 'works' }, { site: '' }), 'No site is in service now');
  assert.equal(head({ ...nowhere, page: 'fails' }, { site: '' }), 'Nothing answers');
  const problem = { status: 429, title: 'Too many requests', detail: 'Try again in 2 s.' };
  assert.deepEqual(summary(findings(nowhere), { ...about, site: '', problem }), { kind: 'no', head: problem.title, text: problem.detail });
  for (const but of [{ video: 'fails' }, { video: { verdict: 'fails', why: 'no-webrtc' } }]) {
    assert.equal(head(but), 'This browser cannot show the video');
  }
  assert.match(summary(findings({ video: { verdict: 'fails', why: 'no-webrtc' } }), about).text, /has WebRTC/);
  assert.match(summary(findings({ video: 'fails' }), about).text, /network is not at fault/);
  assert.match(summary(findings({ video: 'fails', udp: 'fails', tcp: 'fails', tls: 'fails' }), about).text, /decodes H\.264\.$/);
});

test('a browser that decodes VP8 alone shows the apps that come in it', async () => {
  const capable = (...types) => {
    globalThis.RTCPeerConnection = class {};
    globalThis.RTCRtpReceiver = { getCapabilities: () => ({ codecs: types.map((mimeType) => ({ mimeType })) }) };
  };
  capable('video/rtx', 'video/VP8', 'video/VP9');
  const video = await tryVideo();
  assert.deepEqual([video.verdict, video.codec], ['works', 'VP8']);
  assert.match(sentence('video', video, about), /VP8 and not H\.264/);
  assert.deepEqual([kind({ video }), head({ video })], ['maybe', 'You can play some apps from here']);
  assert.equal(head({ video, udp: 'fails', tcp: 'fails', tls: 'fails' }, { network: { ...all, media_ports: [] } }), 'Your network blocks video');
  capable('video/H264', 'video/VP8');
  assert.equal((await tryVideo()).codec, 'H264');
  capable('video/AV1');
  assert.equal((await tryVideo()).verdict, 'fails');
  delete globalThis.RTCPeerConnection;
  delete globalThis.RTCRtpReceiver;
});

test('every finding has one sentence, which claims no more than was tried', () => {
  for (const id of TRIES) {
    assert.ok(label(id, about), id);
    for (const verdict of Object.keys(VERDICTS)) {
      const said = sentence(id, { verdict, ms: 12 }, about);
      if (verdict === 'trying') assert.equal(said, '');
      else assert.match(said, /^[A-Z0-9a-z][^]*\.$/, `${id} ${verdict}`);
      if (id === 'seat' && said) assert.match(said, /Only a session can try/);
    }
    for (const why of ['no-site', 'no-brain', 'unreached', 'no-network', 'no-webrtc', 'no-relay']) {
      assert.ok(sentence(id, { verdict: 'untried', why }, { ...about, network: null, brain: '' }), `${id} ${why}`);
    }
  }
  assert.match(sentence('udp', { verdict: 'works' }, about), /turn\.example, port 3478 answers/);
  assert.match(sentence('tls', { verdict: 'fails' }, about), /turn\.example, port 5349 does not answer/);
  assert.match(sentence('udp', { verdict: 'untried', why: 'no-relay' }, { ...about, network: turn() }), /no relay by UDP/);
  assert.match(sentence('distance', { verdict: 'works', ms: 180 }, about), /^To Ireland and back takes 180 ms: the app will answer late/);
  assert.match(sentence('seat', { verdict: 'untried', udp: 'works' }, about), /20000-20999.*should work/);
  assert.doesNotMatch(sentence('seat', { verdict: 'untried', udp: 'fails' }, about), /should work/);
  assert.equal(label('page', { ...about, page: 'http://127.0.0.1:8800' }), 'HTTP to the router');
});

test('the operator of the network reads what to open, and no credential', () => {
  const { needed, media } = needs(about);
  assert.deepEqual(needed.map((n) => [n.protocol, n.port, n.host]), [['TCP', '443', 'play.example'], ['TCP', '443', 'brain.example']]);
  assert.deepEqual(media.map((n) => [n.protocol, n.port, n.host]), [
    ['UDP', '20000-20999', 'any address'], ['TCP', '20000-20999', 'any address'],
    ['UDP', '3478', 'turn.example'], ['TCP', '3478', 'turn.example'], ['TCP', '5349', 'turn.example']]);
  const letter = request(findings({ udp: 'fails' }), about, { now: new Date('2030-01-02T03:04:05Z'), agent: 'Browser 1' });
  for (const line of ['- TCP 443 to brain.example: the site (HTTPS and WebSocket)', '5. TCP 5349 to turn.example: relay (TURN by TLS)',
    '- UDP to the relay: does not work. The relay at turn.example, port 3478 does not answer.', 'at 2030-01-02 03:04 UTC', 'Browser: Browser 1']) {
    assert.ok(letter.includes(line), `${line} is not in\n${letter}`);
  }
  assert.doesNotMatch(letter, /secret|undefined|null/);
  const nothing = request(findings(Object.fromEntries(TRIES.map((id) => [id, 'untried']))), { page: 'https://play.example', site: '', healthy: true, brain: '', network: null }, { now: new Date(0), agent: 'x' });
  assert.doesNotMatch(nothing, /undefined|null|For the video/);
  assert.match(request(findings({ brain: 'fails' }), { ...about, network: null }, { now: new Date(0), agent: 'x' }), /could not be asked what the video needs/);
});

const golden = new URL('../../internal/wire/testdata/network.json', import.meta.url);
test('the fields of wire.Network are read', { skip: existsSync(golden) ? false : 'internal/wire is not beside this folder' }, () => {
  const network = JSON.parse(readFileSync(golden, 'utf8'));
  network.ice_servers[0].urls = ['turn:turn.example'];
  network.ice_servers.length = 1;
  assert.deepEqual(relaysOf(network).udp, [network.ice_servers[0]]);
  assert.equal(needs({ ...about, network }).media[0].port, network.media_ports.join(', '));
  assert.ok(network.ice_servers[0].username && network.ice_servers[0].credential, 'for the browser');
});
