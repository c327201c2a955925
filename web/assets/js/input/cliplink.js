// cliplink.js: what clipboards hold, chunk by chunk, on a channel of its own
// (wire.ChannelClip). Who wants something asks for it; answers come in the order of the
// asks. So neither end holds more than it wants, and a person's keys never wait behind more
// than was asked for. Pure but for timers; peer.js has the channel.

export const MOST = 8 << 20;        // bytes of a kind: wire.MaxClip
export const CHUNK = 8 << 10;       // bytes of an answer: wire.MaxClipChunk
const PIXELS = 64 << 20;            // of a picture: wire.MaxClipPixels
const KINDS = ['text', 'html', 'png'];

const WINDOW = { least: 2, most: 64 }; // chunks that were asked for and did not come yet
const LATE_MS = 40;        // answers that are later than this wait in a queue of the network
const PATIENCE_MS = 20_000;
const WAITS = 256 << 10;   // bytes of answers that may wait to be sent: a seat that asks and does not read gets no more
const ASKS_AT_ONCE = 256;  // more than a seat asks for

export class ClipLink {
  // channel() is an RTCDataChannel, or null where there is none. It is closed where a seat does not keep to the rules.
  constructor({ channel, now = () => performance.now() }) {
    Object.assign(this, { channel, now });
    this.id = 0;
    this.reset();
  }

  // reset forgets everything: there is a new channel.
  reset() {
    this.#end(new Error('the connection changed'));
    this.given = {};
    this.asks = [];       // sizes and times of asks without an answer; also of a former fetch
    this.owing = 0;       // answers that we owe
    this.answering = Promise.resolve();
  }

  get open() { return isOpen(this.channel()); }

  // give makes these what the seat may ask for: kind → Blob. It gives the offer.
  give(kinds) {
    this.id += 1;
    this.given = Object.fromEntries(Object.entries(kinds).map(([kind, blob]) => [kind, blob.arrayBuffer().then((all) => new Uint8Array(all), () => new Uint8Array())]));
    return { id: this.id, ...Object.fromEntries(Object.entries(kinds).map(([kind, blob]) => [kind, blob.size])) };
  }

  // fetch resolves to what an offer of the seat has: kind → bytes. A later one ends it.
  fetch(offer) {
    this.#end(new Error('the app copied something else'));
    const want = KINDS.filter((kind) => offer[kind] > 0);
    if (want.length === 0 || want.some((kind) => !(offer[kind] <= MOST))) return Promise.reject(new Error('the offer is not valid'));
    return new Promise((resolve, reject) => {
      this.fetching = {
        offer, resolve, reject, window: WINDOW.least, fastest: Infinity,
        parts: want.map((kind) => ({ kind, bytes: new Uint8Array(offer[kind]), asked: 0, got: 0 })),
      };
      this.#ask();
      this.#wait();
    });
  }

  // heard takes what the seat sends: a string or an ArrayBuffer.
  heard(data) {
    if (typeof data === 'string') this.#asked(data);
    else this.#answered(new Uint8Array(data));
  }

  #asked(data) {
    let ask = {};
    try {
      ask = JSON.parse(data);
    } catch {
      // It is answered as one that nobody can serve.
    }
    this.owing += 1;
    const channel = this.channel(); // there may be another one by the time of the answer
    if (this.owing > ASKS_AT_ONCE) return channel?.close();
    const { id, kind, at = 0, size } = ask ?? {};
    const bytes = id === this.id && Object.hasOwn(this.given, kind) ? this.given[kind] : new Uint8Array();
    this.answering = this.answering.then(async () => {
      const all = await bytes;
      await room(channel);
      const good = Number.isInteger(at) && Number.isInteger(size) && at >= 0 && size > 0 && size <= CHUNK && at + size <= all.length;
      this.owing = Math.max(0, this.owing - 1);
      if (isOpen(channel)) channel.send(good ? all.subarray(at, at + size) : new Uint8Array());
    });
  }

  #answered(chunk) {
    const ask = this.asks.shift();
    if (!ask) return this.channel()?.close();
    const { fetching } = this;
    if (!fetching || ask.of !== fetching) return;
    if (chunk.length !== ask.size) return this.#end(new Error('the seat has it no more'));
    ask.part.bytes.set(chunk, ask.part.got);
    ask.part.got += chunk.length;
    this.#pace(fetching, this.now() - ask.at);
    if (fetching.parts.some(({ bytes, got }) => got < bytes.length)) {
      this.#ask();
      this.#wait();
      return;
    }
    this.fetching = null;
    clearTimeout(this.timer);
    fetching.resolve(Object.fromEntries(fetching.parts.map(({ kind, bytes }) => [kind, bytes])));
  }

  #ask() {
    const { fetching } = this;
    while (this.asks.length < fetching.window) {
      const part = fetching.parts.find(({ bytes, asked }) => asked < bytes.length);
      if (!part) return;
      const size = Math.min(CHUNK, part.bytes.length - part.asked);
      if (!this.open) return this.#end(new Error('there is no channel'));
      this.channel().send(JSON.stringify({ id: fetching.offer.id, kind: part.kind, at: part.asked, size }));
      this.asks.push({ of: fetching, part, size, at: this.now() });
      part.asked += size;
    }
  }

  // #pace sets the window by how long an answer took: a queue is left to drain.
  #pace(fetching, took) {
    fetching.fastest = Math.min(fetching.fastest, took);
    const late = took > fetching.fastest + LATE_MS;
    fetching.window = late ? Math.max(WINDOW.least, fetching.window - 1) : Math.min(WINDOW.most, fetching.window + 1);
  }

  #wait() {
    clearTimeout(this.timer);
    if (this.fetching) this.timer = setTimeout(() => this.#end(new Error('the seat does not send what it offered')), PATIENCE_MS);
  }

  #end(error) {
    clearTimeout(this.timer);
    const { fetching } = this;
    this.fetching = null;
    fetching?.reject(error);
  }
}

const isOpen = (channel) => channel?.readyState === 'open';

// room resolves when a channel takes more, or is closed.
async function room(channel) {
  if (!isOpen(channel) || channel.bufferedAmount <= WAITS) return;
  channel.bufferedAmountLowThreshold = WAITS;
  const over = new AbortController();
  await new Promise((go) => {
    for (const type of ['bufferedamountlow', 'close']) channel.addEventListener(type, go, { signal: over.signal });
  });
  over.abort();
}

// isPicture says whether bytes can be a PNG that is not too large to be shown: a small file
// can be a large picture.
export function isPicture(bytes) {
  const head = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, 0x49, 0x48, 0x44, 0x52];
  if (bytes.length < 24 || bytes.length > MOST || head.some((b, at) => bytes[at] !== b)) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const pixels = view.getUint32(16) * view.getUint32(20);
  return pixels > 0 && pixels <= PIXELS;
}
