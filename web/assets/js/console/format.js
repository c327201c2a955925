// format.js: figures in words and units. Pure. What is not known is a dash.

import { ms } from '../words.js';

export const NONE = '–';

const known = (value) => typeof value === 'number' && Number.isFinite(value);

// number has groups of three digits: 10,000.
export const number = (value) => (known(value) ? Math.round(value).toLocaleString('en') : NONE);

export const many = (n, one, more = `${one}s`) => `${number(n)} ${n === 1 ? one : more}`;

export const millis = (value) => (known(value) ? ms(value) : NONE);

// rate is a bitrate, given in kbit/s.
export function rate(kbps) {
  if (!known(kbps)) return NONE;
  if (kbps < 1000) return `${Math.round(kbps)} kbit/s`;
  return `${(kbps / 1000).toFixed(kbps < 9950 ? 1 : 0)} Mbit/s`;
}

export const fps = (value) => (known(value) ? String(Math.round(value)) : NONE);

// share is a part of a whole, 0 to 1. What is small and not nothing does not read as nothing.
export function share(value) {
  if (!known(value)) return NONE;
  const percent = value * 100;
  if (percent > 0 && percent < 0.1) return '< 0.1 %';
  return `${percent < 9.95 && percent > 0 ? percent.toFixed(1) : Math.round(percent)} %`;
}

// span is a length of time in its two largest units.
export function span(millis) {
  if (!known(millis)) return NONE;
  const s = Math.max(0, Math.floor(millis / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

// since is how long ago a time was, by the service's clock.
export function since(time, now) {
  const then = Date.parse(time ?? '');
  return then > 0 && now > 0 ? span(now - then) : NONE;
}

// when is a moment in UTC, which all who run sites share.
export function when(time) {
  const then = Date.parse(time ?? '');
  return then > 0 ? `${new Date(then).toISOString().slice(0, 16).replace('T', ' ')} UTC` : NONE;
}

// short is the end of a long id, by which it can be told from others.
export const short = (id, n = 8) => (typeof id === 'string' && id.length > n + 2 ? `…${id.slice(-n)}` : id || NONE);
