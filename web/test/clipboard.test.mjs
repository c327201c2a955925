import test from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { Clipboard } from '../assets/js/input/clipboard.js';
import { CHUNK, ClipLink, isPicture, MOST } from '../assets/js/input/cliplink.js';

const picture = (size, width = 640, height = 480) => {
  const bytes = new Uint8Array(size);
  bytes.set([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, 0x49, 0x48, 0x44, 0x52]);
  const view = new DataView(bytes.buffer);
  view.setUint32(16, width);
  view.setUint32(20, height);
  return bytes;
};

// pair is two ends that hear each other, as a page and a seat do; sent counts bytes.
function pair() {
  const ends = [];
  const said = [[], []];
  const channel = (me) => ({
    readyState: 'open',
    bufferedAmount: 0,
    send(message) {
      said[me].push(message);
      queueMicrotask(() => ends[1 - me].heard(typeof message === 'string' ? message : message.slice().buffer));
    },
    close() { said[me].push('closed'); },
  });
  const channels = [channel(0), channel(1)];
  ends.push(new ClipLink({ channel: () => channels[0] }), new ClipLink({ channel: () => channels[1] }));
  return { page: ends[0], seat: ends[1], said };
}

test('what is offered is fetched whole, and only when it is asked for', async () => {
  const { page, seat, said } = pair();
  const png = picture(3 * CHUNK + 5);
  const offer = page.give({ html: new Blob(['<b>é</b>']), png: new Blob([png]) });
  assert.deepEqual(offer, { id: 1, html: 9, png: png.length });
  assert.deepEqual(said[0], []);
  const got = await seat.fetch(offer);
  assert.equal(new TextDecoder().decode(got.html), '<b>é</b>');
  assert.deepEqual(got.png, png);
  // An offer that another has followed is void.
  page.give({ html: new Blob(['new']) });
  await assert.rejects(seat.fetch(offer), /no more/);
});

test('asks outside of what was offered get nothing', async () => {
  const { page, said } = pair();
  const { id } = page.give({ html: new Blob(['secret']) });
  for (const ask of [{ id, kind: 'png', at: 0, size: 3 }, { id, kind: 'html', at: -1, size: 3 }, { id, kind: 'html', at: 4, size: 3 }, { id: id + 1, kind: 'html', at: 0, size: 3 },
    { id, kind: 'constructor', at: 0, size: 3 }, { id, kind: 'html', at: 0, size: CHUNK + 1 }, { id, kind: 'html', at: 0.5, size: 3 }, null]) {
    page.heard(JSON.stringify(ask));
  }
  page.heard('{');
  await page.answering;
  assert.deepEqual(said[0].map((m) => m.length), Array(9).fill(0));
  // A flood of asks ends the channel, as does what nobody asked for.
  for (let i = 0; i < 300; i++) page.heard(JSON.stringify({ id, kind: 'html', at: 0, size: 3 }));
  assert.ok(said[0].includes('closed'));
  const other = pair();
  other.page.heard(new ArrayBuffer(5));
  assert.deepEqual(other.said[0], ['closed']);
});

test('answers wait for room, and go by the channel of their ask', async () => {
  const channels = [[], []].map((sent) => Object.assign(new EventTarget(), { readyState: 'open', bufferedAmount: 1 << 20, sent, send: (m) => sent.push(m.length) }));
  let now = 0;
  const page = new ClipLink({ channel: () => channels[now] });
  const { id } = page.give({ html: new Blob(['hello']) });
  for (const size of [1, 2]) page.heard(JSON.stringify({ id, kind: 'html', at: 0, size }));
  const { answering } = page;
  await new Promise(setImmediate);
  assert.deepEqual(channels[0].sent, []);
  now = 1; // the line was cut
  page.reset();
  channels[0].bufferedAmount = 0;
  channels[0].dispatchEvent(new Event('bufferedamountlow'));
  await answering;
  assert.deepEqual(channels.map(({ sent }) => sent), [[1, 2], []]);
});

test('a seat cannot make the page hold more than it may', async () => {
  const { page } = pair();
  await assert.rejects(page.fetch({ id: 1, png: MOST + 1 }), /not valid/);
  await assert.rejects(page.fetch({ id: 1, png: -1 }), /not valid/);
  await assert.rejects(page.fetch({ id: 1, exe: 5 }), /not valid/);
  await assert.rejects(page.fetch({ id: 1, html: 'x' }), /not valid/);
});

test('the window grows while answers are quick, and shrinks while they wait', () => {
  let now = 0;
  const asks = [];
  const link = new ClipLink({ channel: () => ({ readyState: 'open', send: (m) => asks.push(JSON.parse(m)), close() {} }), now: () => now });
  link.fetch({ id: 1, png: MOST }).catch(() => {});
  assert.equal(asks.length, 2);
  let answered = 0;
  const answer = () => link.heard(new ArrayBuffer(asks[answered++].size));
  now = 20;
  for (let i = 0; i < 30; i++) answer();
  assert.equal(asks.length - answered, 32, 'a chunk more for each');
  now += 500;
  for (let i = 0; i < 32; i++) answer();
  assert.equal(asks.length - answered, 2, 'the queue drains');
  link.reset();
});

test('a picture is one by its head, and not larger than can be shown', () => {
  assert.ok(isPicture(picture(100)));
  assert.ok(isPicture(picture(100, 8192, 8192)));
  assert.ok(!isPicture(picture(100, 8192, 8193)));
  assert.ok(!isPicture(picture(100, 0, 5)));
  assert.ok(!isPicture(picture(100).subarray(0, 20)));
  assert.ok(!isPicture(new Uint8Array(100)));
});

const clipboardOf = (options) => {
  const sent = [];
  const troubles = [];
  const taken = [];
  const { page, seat } = pair();
  const browser = { secure: () => true, denied: async () => false, write: async (copied) => { taken.push(copied); }, read: async () => ({}), ...options?.browser };
  const clipboard = new Clipboard({ surface: null, sink: { send: (m) => sent.push(m) }, link: page, onTrouble: (why) => troubles.push(why), browser });
  clipboard.mode = options?.mode ?? 'both';
  return { clipboard, sent, troubles, taken, seat };
};

test('a short text is sent, all else is offered, what is too large stays', async () => {
  const { clipboard, sent, troubles, seat } = clipboardOf();
  clipboard.pasted({ text: 'é', html: '<b>é</b>', png: new Blob([picture(100)]) });
  assert.deepEqual([sent[0].t, sent[0].text, sent[0].offer.png], ['clip', 'é', 100]);
  const { html } = await seat.fetch(sent[0].offer);
  assert.match(new TextDecoder().decode(html), /^<meta [^>]*charset=utf-8"><b>é<\/b>$/);
  sent.length = 0;
  clipboard.pasted({ text: 'x'.repeat(200 * 1024 + 1), png: new Blob([new Uint8Array(MOST + 1)]) });
  assert.deepEqual(sent.map(({ text, offer }) => [text, offer.text, offer.png]), [['', 200 * 1024 + 1, undefined]]);
  assert.deepEqual(troubles, ['large']);
  const out = clipboardOf({ mode: 'out' });
  out.clipboard.pasted({ text: 'secret' });
  assert.deepEqual(out.sent, []);
});

test('a clipboard that the browser keeps is told, with what to do', async () => {
  const refuse = () => Promise.reject(Object.assign(new Error(), { name: 'NotAllowedError' }));
  const cases = [
    [{ write: refuse }, 'write-later'], [{ write: refuse, denied: async () => true }, 'write-denied'], [{ write: refuse, secure: () => false }, 'insecure'],
  ];
  for (const [browser, want] of cases) {
    const { clipboard, troubles, taken } = clipboardOf({ browser });
    await clipboard.told({ text: 'from the app' });
    await clipboard.flush(true);
    assert.equal(troubles[0], want);
    clipboard.browser.write = async (copied) => { taken.push(copied); };
    await clipboard.flush();
    assert.equal(await taken[0].text.text(), 'from the app', 'the next key has it taken');
    assert.equal(clipboard.copied, null);
  }
  const { clipboard, troubles } = clipboardOf({ browser: { read: refuse } });
  assert.equal(await clipboard.read(), false);
  assert.deepEqual(troubles, ['read-denied']);
});

test('what the app copied last is what the person gets', async () => {
  const { clipboard, taken, seat } = clipboardOf();
  const first = clipboard.told({ text: 'old', offer: seat.give({ png: new Blob([picture(MOST)]) }) });
  await clipboard.told({ text: 'new' });
  await first;
  await clipboard.flush();
  assert.deepEqual(await Promise.all(taken.map(({ text }) => text.text())), ['new']);
  // A picture that is none does not hide the text.
  await clipboard.told({ text: 'caption', offer: seat.give({ png: new Blob(['no picture at all, whatever it says']) }) });
  await clipboard.flush();
  assert.deepEqual(Object.keys(taken.at(-1)), ['text']);
});

test('what is too large empties the app\'s clipboard, and what is unknown leaves it', () => {
  const { clipboard, sent, troubles } = clipboardOf();
  clipboard.pasted({ png: new Blob([new Uint8Array(MOST + 1)]) });
  assert.deepEqual(sent, [{ t: 'clip', text: '' }]);
  clipboard.pasted({});
  assert.equal(sent.length, 1);
  assert.deepEqual(troubles, ['large']);
});

test('a text does not wait long for the picture that was copied with it', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { clipboard, taken } = clipboardOf();
  let arrive;
  clipboard.link = { fetch: () => new Promise((resolve) => { arrive = resolve; }) };
  const all = clipboard.told({ text: 'caption', offer: { id: 1, png: 100 } });
  t.mock.timers.tick(300);
  await new Promise(setImmediate);
  assert.deepEqual(taken.map(Object.keys), [['text']]);
  arrive({ png: picture(100) });
  await all;
  await new Promise(setImmediate);
  assert.deepEqual(taken.map(Object.keys), [['text'], ['text', 'png']]);
});

test('a copy that did not come whole is no beginning of the next', async () => {
  const { clipboard, taken } = clipboardOf();
  await clipboard.told({ first: true, text: 'lost ', more: true });
  await clipboard.told({ first: true, text: 'whole ', more: true });
  await clipboard.told({ text: 'text' });
  await new Promise(setImmediate);
  assert.deepEqual(await Promise.all(taken.map(({ text }) => text.text())), ['whole text']);
});

test('keys keep their order while the browser gives what is pasted', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { clipboard } = clipboardOf();
  const did = [];
  const v = { code: 'KeyV', key: 'v', ctrlKey: true };
  clipboard.next(v);
  assert.equal(clipboard.pastes(v, () => did.push('v')), true);
  assert.deepEqual(did, []);
  clipboard.next({ code: 'ControlLeft', key: 'Control' }); // it is released
  assert.deepEqual(did, ['v']);
  t.mock.timers.tick(1000);
  assert.deepEqual(did, ['v']);
  // On a Mac the browser pastes with Command alone.
  clipboard.mac = true;
  assert.equal(clipboard.pastes(v, () => {}), false);
  assert.equal(clipboard.pastes({ code: 'KeyV', key: 'v', metaKey: true }, () => {}), true);
});

test('a copy that waits is not written over what a person pastes', async () => {
  const { clipboard, taken } = clipboardOf();
  clipboard.used = () => false;
  await clipboard.told({ text: 'of the app' });
  clipboard.next({ code: 'ControlLeft', key: 'Control', ctrlKey: true });
  clipboard.next({ code: 'KeyV', key: 'v', ctrlKey: true });
  await new Promise(setImmediate);
  assert.deepEqual(taken, []);
  clipboard.next({ code: 'KeyA', key: 'a' });
  await new Promise(setImmediate);
  assert.equal(taken.length, 1);
});

test('what the app copies while the person uses something else waits for their next key here', async () => {
  const written = [];
  let used = false;
  const clipboard = new Clipboard({ sink: {}, used: () => used, browser: { secure: () => true, denied: async () => false, write: async (copied) => { written.push(await copied.text.text()); } } });
  clipboard.mode = 'both';
  await clipboard.told({ text: 'theirs' });
  await new Promise(setImmediate);
  assert.deepEqual(written, []);
  used = true;
  await clipboard.flush();
  assert.deepEqual(written, ['theirs']);
});

const golden = new URL('../../internal/wire/testdata/', import.meta.url);
test('offers and asks have the fields of wire', { skip: existsSync(golden) ? false : 'internal/wire is not beside this folder' }, async () => {
  const fields = (name) => Object.keys(JSON.parse(readFileSync(new URL(`${name}.json`, golden), 'utf8')));
  const { clipboard, sent, seat } = clipboardOf();
  clipboard.pasted({ text: 'x'.repeat(300_000), html: '<b>', png: new Blob([picture(99)]) });
  assert.deepEqual(Object.keys(sent[0].offer).sort(), fields('clip_offer').sort());
  for (const field of Object.keys(sent[0])) assert.ok(fields('input').includes(field), field);
  const asked = [];
  const link = new ClipLink({ channel: () => ({ readyState: 'open', send: (m) => asked.push(m), close() {} }) });
  link.fetch({ id: 5, html: 9 }).catch(() => {});
  assert.deepEqual(Object.keys(JSON.parse(asked[0])), fields('clip_ask'));
  link.reset();
  seat.reset();
});
