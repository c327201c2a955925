import assert from 'node:assert/strict';
import { test } from 'node:test';
import { paramsOf } from '../assets/js/params.js';

test('parameters of the address', () => {
  assert.equal(paramsOf(''), null);
  assert.equal(paramsOf('?model=car&params.model=car'), null);
  assert.deepEqual(paramsOf('?param.model=red%20car&x=1&param.note='), { model: 'red car', note: '' });
  assert.deepEqual(paramsOf('?param.model=a&param.model=b'), { model: 'b' });
});
