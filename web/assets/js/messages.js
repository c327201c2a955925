// messages.js: what the page and the app say to each other, on a channel of its own
// (wire.ChannelMessages, which says how). Each message is delivered once and in order, also
// when the connection is replaced: who sends keeps it until the other end has taken it. Pure
// but for the store; peer.js has the channel.
//
//	const messages = new Messages({ onMessage: (message) => … });
//	messages.live = true;                   // Play was pressed
//	messages.open(channel, session);        // of each new connection, once the picture is there
//	messages.heard(data);                   // what came on it
//	await messages.send({ part: 'door' });  // JSON, or bytes as ArrayBuffer or a view of one
//	messages.live = false;                  // the session is over
//
// A promise of send() resolves when the app has taken the message. What was sent and not taken
// is lost with the page: a page that is loaded again has new promises. What the app sent is
// not: the seat has it until the page has taken it. It has when onMessage has returned, or its
// promise is settled, so a page that is slow makes the app wait. An onMessage that waits for
// send() waits for ever where the app, too, sends before it reads.

export const MOST = 256 << 10;      // bytes of a message: wire.MaxAppMessage
export const CHUNK = 8 << 10;       // wire.MaxMessageChunk
const OPEN = { messages: 64, bytes: 1 << 20 }; // sent and not taken: wire.MaxMessagesOpen, wire.MaxMessageBytesOpen
const WAITING = { messages: 4096, bytes: 16 << 20 }; // all that send() keeps
const WINDOW = { least: 2, most: 64 }; // chunks of which the seat has not said that they came: wire.MaxChunksOpen
const LATE_MS = 40; // answers that are later than this wait in a queue of the network

export class Messages {
  #live = false;

  // store keeps which of the seat's messages this page has, over a load of the page:
  // got(session) and keep(session, got).
  constructor({ onMessage = () => {}, store = { got: () => 0, keep() {} }, now = () => performance.now() } = {}) {
    Object.assign(this, { onMessage, store, now });
    this.session = '';
    this.channel = null;
    this.#anew();
  }

  #anew() {
    this.page = Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, '0')).join(''); // whose numbers these are
    this.seq = 0;      // the last one that was given
    this.out = [];     // {seq, bytes, raw, resolve, reject} that the app has not taken
    this.got = 0;      // the last of the seat's that has come whole
    this.taken = 0;    // and that was handed on
    this.handing = Promise.resolve();
  }

  // bufferedAmount is how many bytes send() has taken and the app has not.
  get bufferedAmount() { return this.out.reduce((sum, { bytes }) => sum + bytes.length, 0); }

  // live says whether there is a session, or soon will be.
  get live() { return this.#live; }

  set live(live) {
    if (this.#live === live) return;
    this.#live = live;
    if (live) return;
    this.lost();
    this.session = '';
    this.#reject(new Error('the session has ended'));
  }

  #reject(error) {
    const { out } = this;
    this.#anew();
    for (const { reject } of out) reject(error);
  }

  // send resolves when the app has taken the message.
  send(message) {
    let bytes;
    const raw = message instanceof ArrayBuffer || ArrayBuffer.isView(message);
    if (raw) {
      const view = ArrayBuffer.isView(message) ? message : new Uint8Array(message);
      bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice(); // the caller may go on with theirs
    } else {
      let text;
      try {
        text = JSON.stringify(message);
      } catch (error) {
        return Promise.reject(error);
      }
      if (text === undefined) return Promise.reject(new TypeError('a message is what JSON can say, or an ArrayBuffer or a view of one'));
      bytes = new TextEncoder().encode(text);
    }
    if (bytes.length > MOST) return Promise.reject(new RangeError(`the message has ${bytes.length} bytes; ${MOST} are the most: send it in parts`));
    if (!this.live) return Promise.reject(new Error('there is no session'));
    if (this.out.length >= WAITING.messages || this.bufferedAmount + bytes.length > WAITING.bytes) {
      return Promise.reject(new Error('too much waits for the app: await what was sent before'));
    }
    return new Promise((resolve, reject) => {
      this.seq += 1;
      this.out.push({ seq: this.seq, bytes, raw, resolve, reject });
      this.#flush();
    });
  }

  // open takes the channel of a new connection: open, send(string or bytes) and close().
  open(channel, session) {
    if (channel === this.channel || !channel?.open || !session) return;
    if (this.session && session !== this.session) this.#reject(new Error('the session was lost; another one has begun'));
    if (session !== this.session) this.got = this.taken = this.store.got(session);
    Object.assign(this, { session, channel, next: Infinity, at: 0, headed: false, acked: 0, sent: [], window: WINDOW.least, fastest: Infinity, head: null, chunks: 0, begun: false });
    this.#say({ t: 'hello', page: this.page, got: this.got, seq: this.taken });
  }

  // lost says that the connection is gone. What waits stays, for the next one.
  lost() { this.channel = null; }

  // heard takes what the seat sends: a string or an ArrayBuffer.
  heard(data) {
    if (typeof data !== 'string' && !(data instanceof ArrayBuffer)) throw new TypeError('heard() takes a string or an ArrayBuffer: set the channel\'s binaryType to arraybuffer');
    if (!this.channel) return;
    try {
      if (typeof data === 'string') this.#frame(JSON.parse(data));
      else this.#chunk(new Uint8Array(data));
    } catch (error) {
      console.warn('nearcast: the seat breaks the rules of messages:', error);
      this.channel?.close();
      this.channel = null;
    }
  }

  #say(frame) { this.channel?.send(JSON.stringify(frame)); }

  #frame(frame) {
    const { t, seq = 0, got = 0, size = 0, bytes = false, chunks = 0 } = frame;
    if (t === 'hello') {
      this.#tookUpTo(seq);
      this.next = got + 1;
      this.#flush();
    } else if (t === 'ack') {
      const come = chunks - this.acked;
      if (!(come >= 0 && come <= this.sent.length) || seq > this.seq) throw new Error('an answer to nothing');
      for (const at of this.sent.splice(0, come)) this.#pace(this.now() - at);
      this.acked = chunks;
      this.#tookUpTo(seq);
      this.#flush();
    } else if (t === 'message') {
      // On a new channel the seat goes on after what any page has taken.
      const follows = this.begun ? seq === this.got + 1 : Number.isSafeInteger(seq) && seq > this.got;
      if (this.head || !follows || !(size >= 0 && size <= MOST)) throw new Error(`message ${seq} of ${size} bytes after ${this.got}`);
      Object.assign(this, { begun: true, got: seq - 1 });
      this.head = { bytes, all: new Uint8Array(size), come: 0 };
      this.#complete();
    }
  }

  #chunk(part) {
    const { head } = this;
    if (!head || part.length > head.all.length - head.come) throw new Error('bytes of no message');
    head.all.set(part, head.come);
    head.come += part.length;
    this.chunks += 1;
    this.#complete();
    this.#ack();
  }

  #ack() { this.#say({ t: 'ack', seq: this.taken, chunks: this.chunks }); }

  #complete() {
    const { head, session, page } = this;
    if (head.come < head.all.length) return;
    const message = head.bytes ? head.all.buffer : JSON.parse(new TextDecoder().decode(head.all));
    this.head = null;
    this.got += 1;
    const seq = this.got;
    // The one before may still be with a callback that waits.
    this.handing = this.handing.then(async () => {
      if (page !== this.page) return; // it numbers anew: the seat has this one still
      try {
        await this.onMessage(message);
      } catch (error) {
        console.error('nearcast: what takes messages failed:', error);
      }
      if (page !== this.page) return;
      this.taken = seq;
      this.store.keep(session, seq);
      this.#ack();
    });
  }

  #tookUpTo(seq) {
    while (this.out.length > 0 && this.out[0].seq <= seq) this.out.shift().resolve();
  }

  // #pace sets the window by how long an answer took: a queue is left to drain.
  #pace(took) {
    this.fastest = Math.min(this.fastest, took);
    const late = took > this.fastest + LATE_MS;
    this.window = late ? Math.max(WINDOW.least, this.window - 1) : Math.min(WINDOW.most, this.window + 1);
  }

  // #flush sends as many chunks as may be on their way.
  #flush() {
    if (!this.channel) return;
    let open = 0; // bytes of what is sent and not taken
    for (const [i, message] of this.out.entries()) {
      open += message.bytes.length;
      if (i >= OPEN.messages || open > OPEN.bytes) return;
      if (message.seq < this.next) continue;
      while (message.seq === this.next) {
        if (this.sent.length >= this.window) return;
        if (!this.headed) this.#say({ t: 'message', seq: message.seq, size: message.bytes.length, bytes: message.raw });
        this.headed = true;
        if (message.bytes.length > 0) {
          this.channel.send(message.bytes.subarray(this.at, this.at + CHUNK));
          this.sent.push(this.now());
          this.at += CHUNK;
        }
        if (this.at >= message.bytes.length) Object.assign(this, { next: this.next + 1, at: 0, headed: false });
      }
    }
  }
}
