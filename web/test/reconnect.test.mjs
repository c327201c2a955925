import test from 'node:test';
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { again, inLine, relaunch, pick } from '../assets/js/reconnect.js';

// The Go test of 2,000 pages has its times from the same file.
test('the schedule is the golden one', async () => {
  const golden = JSON.parse(await readFile(new URL('./reconnect.json', import.meta.url)));
  const rows = (calm) => Array.from({ length: 8 }, (_, i) => again(i + 1, calm));
  assert.deepEqual(golden, {
    calm: rows(true), lost: rows(false), relaunch: [1, 2, 3, 4].map(relaunch),
    line: [1, 1000, 20_000].map((position) => ({ position, ...inLine(1, position) })),
  });
});

test('pages that lose a brain at once come back spread over seconds, and soon', () => {
  for (const [calm, most] of [[true, 2000 / 4400 * 100 * 1.6], [false, 2000 / 900 * 100 * 1.5]]) {
    const buckets = new Map(); // by 100 ms
    for (let i = 0; i < 2000; i++) {
      const at = pick(again(1, calm));
      assert.ok(at >= 100 && at <= 5000);
      buckets.set(Math.floor(at / 100), (buckets.get(Math.floor(at / 100)) ?? 0) + 1);
    }
    assert.ok(Math.max(...buckets.values()) < most, `${Math.max(...buckets.values())} of 2000 pages in 100 ms`);
  }
  // Four attempts fit into ten seconds, whatever the dice say.
  const worst = [1, 2, 3, 4].reduce((sum, n) => sum + pick(again(n, true), 1), 0);
  assert.ok(worst < 10_000, `${worst} ms`);
  assert.equal(pick({ ms: 40 }), 40);
});

test('people in the queue come back in about their order, all within five seconds', () => {
  assert.deepEqual(inLine(1), again(1, false), 'no place is known');
  for (let n = 2; n < 8; n++) assert.deepEqual(inLine(n, 900), again(n, false), 'their times differ by then');
  assert.ok(pick(inLine(1, 1), 1) < pick(inLine(1, 2001), 0), 'the first before the 2,001st');
  assert.ok(pick(inLine(1, 1e6), 1) + pick(inLine(2, 1e6), 1) < 5000, 'two attempts');
});
