import test from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { CHUNK, Messages, MOST } from '../assets/js/messages.js';

const wire = new URL('../../internal/wire/messages.go', import.meta.url);
const golden = new URL('../../internal/wire/testdata/message_frame.json', import.meta.url);
const skip = existsSync(wire) ? false : 'internal/wire is not beside this folder';

// Seat is the far end of channels: it keeps to the rules, and says nothing by itself but hello
// and that chunks have come.
class Seat {
  constructor(page) {
    this.page = page;
    this.got = 0;
    this.taken = 0;
    this.came = [];
    this.frames = [];
  }

  // connect makes a new channel.
  connect(session = 's', { hello = true } = {}) {
    const channel = {
      open: true,
      closed: false,
      send: (data) => { if (channel.open) this.heard(channel, data); },
      close: () => { channel.open = false; channel.closed = true; },
    };
    this.channel = channel;
    this.greets = hello;
    this.chunks = 0;
    this.head = null;
    this.silent = false;
    this.page.open(channel, session);
    return channel;
  }

  cut() { this.channel.open = false; this.page.lost(); }

  say(frame) { this.page.heard(JSON.stringify(frame)); }

  heard(channel, data) {
    if (channel !== this.channel) return;
    if (typeof data !== 'string') {
      assert.ok(data.length <= CHUNK && this.head, `${data.length} bytes of no message`);
      this.chunks += 1;
      this.head.data.push(...data);
      if (this.head.data.length === this.head.size) this.#complete();
      if (!this.silent) queueMicrotask(() => channel.open && this.say({ t: 'ack', seq: this.taken, chunks: this.chunks }));
      return;
    }
    const frame = JSON.parse(data);
    this.frames.push(frame);
    if (frame.t === 'hello') {
      if (frame.page !== this.name) { this.name = frame.page; this.got = 0; this.taken = 0; }
      if (this.greets) queueMicrotask(() => this.say({ t: 'hello', got: this.got, seq: this.taken }));
    }
    if (frame.t === 'message') {
      assert.equal(frame.seq, this.got + 1);
      assert.equal(this.head, null);
      this.head = { ...frame, data: [] };
      if (frame.size === 0) this.#complete();
    }
  }

  #complete() {
    const bytes = Uint8Array.from(this.head.data);
    this.came.push(this.head.bytes ? bytes : JSON.parse(new TextDecoder().decode(bytes)));
    this.got = this.head.seq;
    this.head = null;
  }

  take(n = this.got) {
    this.taken = n;
    this.say({ t: 'ack', seq: n, chunks: this.chunks });
  }

  // send sends a message to the page.
  send(seq, message) {
    const raw = message instanceof Uint8Array;
    const bytes = raw ? message : new TextEncoder().encode(JSON.stringify(message));
    this.say({ t: 'message', seq, size: bytes.length, bytes: raw });
    for (let at = 0; at < bytes.length; at += CHUNK) this.page.heard(bytes.slice(at, at + CHUNK).buffer);
  }
}

const settle = () => new Promise((resolve) => { setTimeout(resolve, 5); });

function start(options) {
  const heard = [];
  const page = new Messages({ onMessage: (message) => { heard.push(message); }, ...options });
  page.live = true;
  return { page, heard, seat: new Seat(page) };
}

const state = (promise) => Promise.race([promise.then(() => 'kept', (error) => error.message), settle().then(() => 'open')]);

test('the bounds and the frames are those of the wire', { skip }, async () => {
  const source = readFileSync(wire, 'utf8');
  assert.match(source, /MaxAppMessage\s+= 256 << 10/);
  assert.match(source, /MaxMessageChunk\s+= 8 << 10/);
  assert.match(source, /MaxMessagesOpen\s+= 64\n/);
  assert.match(source, /MaxMessageBytesOpen = 1 << 20/);
  assert.match(source, /MaxChunksOpen = 64/);
  assert.deepEqual([MOST, CHUNK], [256 << 10, 8 << 10]);
  const fields = Object.keys(JSON.parse(readFileSync(golden, 'utf8')));
  const { page, seat } = start();
  seat.connect();
  page.send({ a: 1 });
  await settle();
  seat.send(1, 'x');
  await settle();
  for (const frame of seat.frames) for (const field of Object.keys(frame)) assert.ok(fields.includes(field), field);
  assert.deepEqual([...new Set(seat.frames.map((f) => f.t))].sort(), ['ack', 'hello', 'message']);
});

test('send is kept when the app has the message', async () => {
  const { page, seat } = start();
  const early = page.send({ early: true }); // before there is a connection
  assert.equal(await state(early), 'open');
  seat.connect();
  await settle();
  assert.deepEqual(seat.came, [{ early: true }]);
  assert.equal(await state(early), 'open');
  assert.equal(page.bufferedAmount, 14);
  seat.take();
  assert.equal(await state(early), 'kept');
  assert.equal(page.bufferedAmount, 0);
  const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i % 251);
  const sent = [page.send(bytes), page.send(bytes.buffer), page.send(new Uint8Array()), page.send(null), page.send('é'.repeat(100_000))];
  bytes.fill(0); // ours is a copy
  await settle();
  assert.deepEqual(seat.came.slice(1).map((m) => m?.length ?? m), [100_000, 100_000, 0, null, 100_000]);
  assert.equal(seat.came[1][300], 300 % 251);
  seat.take();
  assert.deepEqual(await Promise.all(sent.map(state)), Array(5).fill('kept'));
});

test('what cannot be sent is refused', async () => {
  const { page } = start();
  const circle = {};
  circle.self = circle;
  await assert.rejects(page.send(undefined), TypeError);
  await assert.rejects(page.send(() => 1), TypeError);
  await assert.rejects(page.send(circle), TypeError);
  await assert.rejects(page.send(new Uint8Array(MOST + 1)), RangeError);
  await assert.rejects(page.send('x'.repeat(MOST)), RangeError);
  const all = Array.from({ length: 64 }, () => page.send(new Uint8Array(MOST)));
  await assert.rejects(page.send(1), /too much waits/);
  page.live = false;
  for (const one of all) await assert.rejects(one, /session has ended/);
  await assert.rejects(page.send(1), /no session/);
});

test('no more is open than the seat allows', async () => {
  const { page, seat } = start();
  seat.connect();
  for (let i = 0; i < 100; i += 1) page.send(i).catch(() => {});
  await settle();
  assert.equal(seat.came.length, 64);
  seat.take(10);
  await settle();
  assert.equal(seat.came.length, 74);
  seat.take();
  await settle();
  seat.take();
  for (let i = 0; i < 6; i += 1) page.send(new Uint8Array(MOST)).catch(() => {});
  await settle();
  assert.equal(seat.came.length, 104);
  seat.take();
  await settle();
  assert.equal(seat.came.length, 106);
});

test('a seat that does not answer gets two chunks, and a slow line no more', async () => {
  let now = 0;
  const { page, seat } = start({ now: () => now });
  seat.connect();
  await settle();
  seat.silent = true;
  page.send(new Uint8Array(MOST)).catch(() => {});
  assert.equal(seat.chunks, 2);
  now += 10;
  seat.take(0);
  assert.equal(seat.chunks, 2 + 4); // quick: the window grows with each
  now += 500;
  seat.take(0);
  assert.equal(seat.chunks, 6 + 2); // late: it shrinks
});

test('nothing is lost or doubled over connections', async () => {
  const { page, seat, heard } = start();
  seat.connect();
  await settle();
  const sent = [1, 2, 3].map((n) => page.send(n));
  await settle();
  seat.take(1);
  seat.send(1, 'a');
  seat.cut();
  page.send(4);
  seat.connect();
  await settle();
  assert.deepEqual(seat.came, [1, 2, 3, 4]);
  assert.equal(seat.frames.filter((f) => f.t === 'hello').at(-1).got, 1);
  seat.take();
  assert.deepEqual(await Promise.all(sent.map(state)), ['kept', 'kept', 'kept']);
  seat.say({ t: 'message', seq: 2, size: 20_000, bytes: true }); // half of it
  page.heard(new ArrayBuffer(CHUNK));
  seat.cut();
  seat.connect();
  seat.send(2, 'b');
  await settle();
  assert.deepEqual(heard, ['a', 'b']);
});

test('a page that is loaded again has what the store knows, and numbers anew', async () => {
  const kept = {};
  const store = { got: (session) => kept[session] ?? 0, keep: (session, got) => { kept[session] = got; } };
  const first = start({ store });
  first.seat.connect('s1');
  first.seat.send(1, 'a');
  await settle();
  const second = start({ store });
  second.seat.connect('s1');
  await settle();
  const [hello] = second.seat.frames;
  assert.equal(hello.got, 1);
  assert.notEqual(hello.page, first.seat.name);
  second.seat.send(2, 'b');
  const sent = second.page.send(1);
  await settle();
  assert.deepEqual(second.heard, ['b']);
  // Another session: what the lost app did not take is not for this one.
  second.seat.cut();
  const other = new Seat(second.page);
  other.connect('s2');
  assert.match(await state(sent), /was lost/);
  assert.equal(other.frames[0].got, 0);
  other.send(1, 'c');
  await settle();
  assert.deepEqual(second.heard, ['b', 'c']);
});

test('a page that knows no number goes on where the seat is', async () => {
  const { warn } = console;
  console.warn = () => {};
  const { seat, heard } = start();
  seat.connect();
  assert.deepEqual([seat.frames[0].got, seat.frames[0].seq], [0, 0]);
  seat.send(6, 'f'); // another tab has taken five
  seat.send(7, 'g');
  await settle();
  assert.deepEqual(heard, ['f', 'g']);
  assert.equal(seat.frames.at(-1).seq, 7);
  // That tab took the eighth meanwhile.
  seat.cut();
  const again = seat.connect();
  seat.send(9, 'i');
  await settle();
  assert.deepEqual([heard.at(-1), seat.frames.at(-1).seq, again.closed], ['i', 9, false]);
  seat.send(11, 'k'); // on one channel none is left out
  assert.ok(again.closed);
  const twice = seat.connect();
  seat.send(9, 'i');
  assert.ok(twice.closed);
  await settle();
  assert.deepEqual(heard, ['f', 'g', 'i']);
  console.warn = warn;
});

test('what onMessage has not done is not taken', async () => {
  const kept = {};
  const store = { got: (session) => kept[session] ?? 0, keep: (session, got) => { kept[session] = got; } };
  const gates = [];
  const { page, seat } = start({ store, onMessage: (message) => new Promise((resolve) => { gates.push([message, resolve]); }) });
  seat.connect();
  for (const seq of [1, 2, 3]) seat.send(seq, seq);
  await settle();
  gates[0][1]();
  await settle();
  assert.deepEqual(kept, { s: 1 });
  seat.cut();
  seat.connect();
  const hello = () => seat.frames.findLast((f) => f.t === 'hello');
  assert.deepEqual([hello().got, hello().seq], [3, 1]);
  // The page leaves the session, and takes it back: the second message is still at work.
  page.live = false;
  page.live = true;
  seat.connect();
  assert.deepEqual([hello().got, hello().seq], [1, 1]);
  gates[1][1]();
  await settle();
  assert.ok(seat.frames.slice(seat.frames.indexOf(hello())).every((f) => f.seq === 1), 'it takes what this page has not got');
  seat.send(2, 2);
  await settle();
  assert.deepEqual(gates.map(([message]) => message), [1, 2, 2]);
  assert.deepEqual(kept, { s: 1 });
});

test('what comes must be a string or an ArrayBuffer', async () => {
  const { page, seat } = start();
  seat.connect();
  assert.throws(() => page.heard(new Blob(['x'])), /binaryType/);
  assert.throws(() => page.heard(new Uint8Array(1)), /binaryType/);
});

test('a page that is slow makes the app wait', async () => {
  const gates = [];
  const { seat } = start({ onMessage: () => new Promise((resolve) => { gates.push(resolve); }) });
  seat.connect();
  seat.send(1, 'a');
  seat.send(2, 'b');
  await settle();
  const acks = () => seat.frames.filter((f) => f.t === 'ack').at(-1);
  assert.equal(gates.length, 1);
  assert.deepEqual([acks().seq, acks().chunks], [0, 2]);
  gates[0]();
  await settle();
  assert.deepEqual([gates.length, acks().seq], [2, 1]);
});

test('what takes messages may fail', async () => {
  const { error } = console;
  console.error = () => {};
  let n = 0;
  const { seat } = start({ onMessage: () => { n += 1; throw new Error('no'); } });
  seat.connect();
  seat.send(1, 'a');
  seat.send(2, 'b');
  await settle();
  console.error = error;
  assert.equal(n, 2);
});

test('a seat that breaks the rules loses its channel', async () => {
  const { warn } = console;
  console.warn = () => {};
  for (const breaks of [
    (seat) => seat.say({ t: 'message', seq: 0, size: 1 }),
    (seat) => seat.say({ t: 'message', seq: 1.5, size: 1 }),
    (seat) => seat.say({ t: 'message', seq: 1e300, size: 1 }),
    (seat) => seat.say({ t: 'message', seq: 1, size: MOST + 1 }),
    (seat) => seat.say({ t: 'message', seq: 1, size: -1 }),
    (seat) => { seat.say({ t: 'message', seq: 1, size: 9 }); seat.say({ t: 'message', seq: 1, size: 9 }); },
    (seat) => seat.page.heard(new ArrayBuffer(1)),
    (seat) => seat.page.heard('{'),
    (seat) => seat.say({ t: 'ack', chunks: 5 }),
    (seat) => seat.say({ t: 'ack', seq: 5 }),
    (seat) => { seat.say({ t: 'message', seq: 1, size: 1 }); seat.page.heard(new TextEncoder().encode('{').buffer); },
  ]) {
    const { seat, heard } = start();
    const channel = seat.connect();
    await settle();
    breaks(seat);
    assert.ok(channel.closed, String(breaks));
    assert.deepEqual(heard, []);
  }
  console.warn = warn;
});
