import test from 'node:test';
import assert from 'node:assert/strict';
import { Inquiry, inquire } from '../assets/js/verdict.js';

// trial plays an inquiry against a network: net[name](t) is how long an answer to a
// question asked at t takes (Infinity: never), says[name] what it says of the
// suspect's health. It gives the verdict, when it fell, and who was asked when.
function trial(net, { witnesses = ['w1', 'w2', 'w3'], says = {}, rtt = 20, until = 15_000, step = () => 50 } = {}) {
  const inquiry = new Inquiry('suspect', witnesses, { rtt, now: 0 });
  const asked = [];
  const coming = [];
  for (let now = 0; now < until; now += step(now)) {
    for (const one of coming.splice(0)) {
      if (one.at <= now) inquiry.answered(one.name, one.at, says[one.name]);
      else coming.push(one);
    }
    const verdict = inquiry.verdict(now);
    if (verdict !== 'waiting') return { verdict, at: now, asked };
    for (const name of inquiry.due(now)) {
      asked.push([name, now]);
      const takes = (net[name] ?? (() => Infinity))(now);
      if (takes === 'refused') inquiry.failed(name);
      else if (takes < Infinity) coming.push({ name, at: now + takes });
    }
  }
  return { verdict: 'waiting', at: until, asked };
}
const in_ = (ms) => () => ms;

test('the suspect answers: it is alive', () => {
  const { verdict, at } = trial({ suspect: in_(20), w1: in_(80) }, { says: { w1: false } });
  assert.equal(verdict, 'alive');
  assert.ok(at <= 50);
});

test('a witness answers and the suspect does not: lost, within 1.2 s', () => {
  const { verdict, at } = trial({ w1: in_(150) });
  assert.equal(verdict, 'lost');
  assert.ok(at <= 1200, `${at} ms`);
});

test('sooner where the witness knows it to be unhealthy', () => {
  const { verdict, at } = trial({ w1: in_(150) }, { says: { w1: false } });
  assert.equal(verdict, 'lost');
  assert.ok(at <= 500, `${at} ms`);
});

test('but a far suspect that is asked afresh has time to object', () => {
  assert.equal(trial({ suspect: in_(300), w1: in_(20) }, { says: { w1: false }, rtt: 300 }).verdict, 'alive');
});

test('witnesses are asked nearest first, the next one when one is silent or gone', () => {
  const { verdict, at, asked } = trial({ w3: in_(100) });
  assert.equal(verdict, 'lost');
  assert.deepEqual(asked.filter(([name]) => name !== 'suspect'), [['w1', 0], ['w2', 300], ['w3', 600]]);
  assert.ok(at <= 1600, `${at} ms`);
  const refused = trial({ w1: in_('refused'), w2: in_(100) });
  assert.ok(refused.at <= 1100, `${refused.at} ms`);
});

test('nobody answers: it is our own network, and there is nothing to judge', () => {
  const { verdict, asked } = trial({});
  assert.equal(verdict, 'waiting');
  assert.ok(asked.length > 20, 'all are asked again and again');
  assert.ok(asked.length < 80, 'but not without pause');
  assert.equal(trial({}, { witnesses: [] }).verdict, 'waiting', 'nor without a witness');
  assert.equal(trial({ w1: in_('refused'), w2: in_('refused'), w3: in_('refused') }).verdict, 'waiting');
});

test('our own network is gone for ten seconds: whichever answers first then, no site counts as lost', () => {
  const back = 10_000;
  // What was asked meanwhile is answered late, by retransmission, or never.
  for (const [late, witness, suspect] of [[0, 5, 200], [700, 20, 20], [Infinity, 10, 250], [100, 0, 300]]) {
    const net = {};
    const from = (rtt, lag) => (t) => (t >= back ? rtt : back - t + lag + rtt);
    for (const w of ['w1', 'w2', 'w3']) net[w] = from(witness, 0);
    net.suspect = from(suspect, late);
    const { verdict, at } = trial(net, { rtt: suspect });
    assert.equal(verdict, 'alive', JSON.stringify([late, witness, suspect]));
    assert.ok(at >= back);
  }
});

test('a machine that slept begins anew', () => {
  // A witness stood before the sleep; after it, nothing is known.
  const inquiry = new Inquiry('suspect', ['w1'], { now: 0 });
  inquiry.due(0);
  inquiry.answered('w1', 50, true);
  inquiry.due(50);
  assert.deepEqual(inquiry.due(9000), ['suspect', 'w1']);
  assert.equal(inquiry.verdict(9000), 'waiting');
});

test('inquire asks, tells once, and ends its requests', async () => {
  const signals = [];
  const verdict = await new Promise((resolve) => {
    inquire({
      suspect: 's', witnesses: ['w'], rtt: 1,
      ask: (name, signal) => {
        signals.push(signal);
        return name === 'w' ? Promise.resolve(false) : new Promise((_, no) => { signal.addEventListener('abort', () => no(new Error('aborted'))); });
      },
      onVerdict: (...told) => resolve(told),
    });
  });
  assert.equal(verdict[0], 'lost');
  assert.ok(verdict[1] >= 250);
  assert.ok(signals.length >= 3);
  await new Promise((resolve) => { setImmediate(resolve); });
  assert.ok(signals.slice(1).some((s) => s.aborted));
  const stop = inquire({ suspect: 's', witnesses: [], ask: () => Promise.resolve(true), onVerdict: () => assert.fail('told after the end') });
  stop();
  await new Promise((resolve) => { setTimeout(resolve, 80); });
});
