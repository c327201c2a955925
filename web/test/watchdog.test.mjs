import test from 'node:test';
import assert from 'node:assert/strict';
import { initial, reduce } from '../assets/js/session.js';
import { Signals } from '../assets/js/signal.js';
import { Watchdog } from '../assets/js/watchdog.js';
import { Way } from '../assets/js/way.js';

// A page that holds a picture, with a clock of its own. least is how long its timers wait at
// least: 1000 in a hidden tab. All else comes when it comes, as in a browser.
class Page {
  now = 0;
  tasks = [];
  line = true;
  sockets = 0;
  restarts = 0;
  socketSince = 0; // of the old one
  heard = 0;

  constructor({ least = 0, rtt = 40, moving = false } = {}) {
    Object.assign(this, { least, rtt, moving });
    const page = this;
    performance.now = () => page.now;
    globalThis.setTimeout = (f, ms) => page.after(Math.max(ms, least), f);
    globalThis.setInterval = (f, ms) => page.after(Math.max(ms, least), f, Math.max(ms, least));
    globalThis.clearTimeout = globalThis.clearInterval = (id) => { page.tasks = page.tasks.filter((t) => t !== id); };
    globalThis.WebSocket = class {
      static OPEN = 1;
      readyState = 0;
      constructor() {
        page.sockets++;
        if (page.line) page.after(3 * rtt, () => { if (this.readyState === 0) { this.readyState = 1; this.onopen?.({}); } });
      }
      close() {
        this.readyState = 3;
        page.after(1, () => this.onclose?.({}));
      }
    };
    this.state = { ...initial('viewer'), phase: 'streaming', media: 'live', signal: 'open', urls: ['ws://a'], grant: { resume: 'r' } };
    const peer = {
      closed: false,
      send: ({ seq }) => { if (page.line && !page.cut) page.after(rtt, () => { if (page.line && !page.cut) { page.heard = page.now; page.watchdog.pong(seq); } }); },
      pc: { getStats: async () => {
        if (page.moving && page.line && !page.cut) page.heard = page.now;
        return new Map([['p', { id: 'p', type: 'candidate-pair', selected: true, timestamp: page.now, lastPacketReceivedTimestamp: page.heard, bytesReceived: page.heard }]]);
      } },
    };
    this.way = new Way({ state: () => this.state, watchdog: () => this.watchdog, dispatch: (event) => this.dispatch(event), signals: new Signals() });
    this.watchdog = new Watchdog(peer, {
      onDoubt: () => { this.doubtAt ??= this.now; }, onTrust: () => this.way.trust(), onBroken: () => this.way.broken(), restarting: () => this.state.restarting,
      onSilence: () => { this.lostAt ??= this.now; }, onStats() {},
    });
  }

  after(ms, run, every = 0) {
    const task = { at: this.now + ms, run, every };
    this.tasks.push(task);
    return task;
  }

  dispatch(event) {
    if (event.type === 'broken') this.brokenAt ??= this.now;
    const [state, effects] = reduce(this.state, event);
    this.state = state;
    for (const effect of effects) {
      if (effect.message?.type === 'ping' && this.line && this.answers) this.after(this.rtt, () => { this.way.patience = this.now - this.socketSince; });
      if (effect.do === 'ask') this.way.ask(effect.url);
      if (effect.do === 'signal') { this.restarts++; this.restartAt = this.now; }
      if (effect.do === 'timer') this[effect.name] = setTimeout(() => this.dispatch({ type: 'timer', name: effect.name }), effect.ms);
      if (effect.do === 'cancel') clearTimeout(this[effect.name]);
    }
  }

  async until(at) {
    for (;;) {
      this.tasks.sort((a, b) => a.at - b.at);
      const [task] = this.tasks;
      if (!task || task.at > at) break;
      this.now = task.at;
      if (task.every) task.at += task.every;
      else this.tasks.shift();
      task.run();
      await new Promise(setImmediate);
    }
    this.now = at;
  }
}

test('a hidden tab whose picture comes opens no socket and doubts nothing', async () => {
  for (const rtt of [5, 40, 240, 600]) {
    for (const moving of [false, true]) {
      const page = new Page({ least: 1000, rtt, moving });
      await page.until(60_000);
      assert.deepEqual([page.sockets, page.doubtAt, page.lostAt], [0, undefined, undefined], `rtt ${rtt}, moving ${moving}`);
    }
  }
});

test('a hidden tab notices that nothing comes any more', async () => {
  const page = new Page({ least: 1000 });
  await page.until(10_100);
  page.line = false;
  await page.until(20_000);
  assert.ok(page.brokenAt <= 13_000, `broken at ${page.brokenAt}`);
  assert.ok(page.doubtAt <= 14_000, `doubt at ${page.doubtAt}`);
  assert.ok(page.lostAt <= 16_000, `lost at ${page.lostAt}`);
});

test('a tab that is seen notices it within a second, and ICE is believed at once', async () => {
  const page = new Page();
  await page.until(10_100);
  page.line = false;
  await page.until(15_000);
  assert.ok(page.brokenAt <= 11_250, `broken at ${page.brokenAt}`);
  assert.ok(page.lostAt <= 14_000, `lost at ${page.lostAt}`);

  const warned = new Page();
  await warned.until(10_100);
  warned.line = false;
  await warned.until(10_200);
  await warned.watchdog.suspect();
  await warned.until(12_000);
  assert.ok(warned.brokenAt <= 10_500, `broken at ${warned.brokenAt}`);
});

test('a search that ends leaves nothing that disturbs the next one', async () => {
  const page = new Page({ moving: true });
  const cut = async (from, to) => {
    await page.until(from);
    page.line = false;
    await page.until(to);
    page.line = true;
  };
  await cut(10_100, 11_050);
  await page.until(11_300);
  assert.deepEqual([page.sockets, page.state.restarting], [1, ''], 'a socket was asked for, and is not needed');
  page.line = false;
  await page.until(13_000);
  assert.deepEqual([page.sockets, page.state.restarting], [2, 'asking'], 'it has not opened yet, and is not given up');
});

test('a way that is cut is waited for while the old socket answers, and then left', async () => {
  for (const rtt of [5, 40, 240]) {
    for (const [answers, cut, restarts] of [[true, 2000, 0], [true, 4000, 1], [false, 2000, 1]]) {
      const page = new Page({ rtt, moving: true });
      page.answers = answers;
      await page.until(10_000);
      page.cut = true;
      await page.until(10_000 + cut);
      page.cut = false;
      await page.until(10_000 + cut + 100);
      assert.equal(page.restarts, restarts, `rtt ${rtt}, answers ${answers}, cut for ${cut} ms`);
      if (cut > 2000) assert.ok(page.restartAt <= 13_250, `asked for another way at ${page.restartAt}`);
    }
  }
});

test('a way that is gone is left in time, and a socket that is newer than it says nothing', async () => {
  for (const rtt of [5, 40, 240, 300]) {
    const page = new Page({ rtt, moving: true });
    page.answers = page.cut = true; // what goes by the socket comes, what goes by the way does not
    await page.until(20_000);
    assert.equal(page.restarts, 1, `rtt ${rtt}`);
    assert.ok(page.lostAt - page.restartAt >= 1000, `rtt ${rtt}: asked at ${page.restartAt}, lost at ${page.lostAt}`);
  }
  const changed = new Page({ moving: true });
  changed.answers = true;
  await changed.until(10_000);
  changed.cut = true;
  changed.socketSince = 10_300; // opened on another network
  await changed.until(12_000);
  assert.ok(changed.restartAt <= 11_400, `asked for another way at ${changed.restartAt}`);
});
