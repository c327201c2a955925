// events.js: the service's stream of events, read for as long as the page lives.
//
//	const stop = follow('/console/api/events', { onEvent, onState });
//
// onEvent(name, data) has each event; onState(state, problem) is called with 'connecting', 'live', 'lost'
// (it is tried again by itself) and 'login' (the person has to log in; it is not tried again).
//
// The browser's EventSource does not show a page the comments by which the service says that it lives, and so cannot
// tell a quiet service from a dead line. It also forgets the last event's id when a proxy answers
// with an error. So this reads the same format by fetch.

import { problemOf, unreachable } from '../api.js';

const SILENT_MS = 40_000; // the service says something every 15 s
const RETRY_MS = [1000, 2000, 5000, 10_000, 30_000];
const MAX_EVENT = 16 << 20; // characters

// Parser takes text as it comes and gives the events that are complete: {name, data, id}.
export class Parser {
  #rest = '';
  #name = '';
  #data = [];
  #size = 0;
  #id = '';

  take(text) {
    const events = [];
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop();
    for (const raw of lines) {
      const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
      if (line === '') {
        if (this.#data.length > 0) events.push({ name: this.#name || 'message', data: this.#data.join('\n'), id: this.#id });
        this.#name = '';
        this.#data = [];
        this.#size = 0;
        continue;
      }
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (field === 'event') this.#name = value;
      else if (field === 'id' && !value.includes('\0')) this.#id = value;
      else if (field === 'data') {
        this.#data.push(value);
        this.#size += value.length;
      }
    }
    if (this.#rest.length + this.#size > MAX_EVENT) throw new RangeError('an event is too large');
    return events;
  }
}

export function follow(url, { onEvent, onState, retryMS = RETRY_MS, silentMS = SILENT_MS }) {
  const ended = new AbortController();
  let last = '';
  let live = false;
  let tries = -1; // since it was live
  let wake = () => {};

  async function read() {
    const control = new AbortController();
    const end = () => control.abort();
    ended.signal.addEventListener('abort', end, { once: true });
    let silence;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(end, silentMS);
    };
    window.addEventListener('offline', end);
    try {
      heard();
      const response = await fetch(url, {
        headers: { Accept: 'text/event-stream', ...(last && { 'Last-Event-ID': last }) }, cache: 'no-store', signal: control.signal,
      });
      if (!response.ok) return await problemOf(response);
      const parser = new Parser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return null;
        heard();
        if (!live) onState('live');
        live = true;
        tries = -1;
        for (const { name, data, id } of parser.take(value)) {
          const event = JSON.parse(data);
          last = id;
          try {
            onEvent(name, event);
          } catch (error) {
            reportError(error);
          }
        }
      }
    } catch (error) {
      if (error instanceof SyntaxError || error instanceof RangeError) {
        console.error('console: events:', error);
        last = ''; // what cannot be read is asked for anew, whole
      }
      return unreachable();
    } finally {
      clearTimeout(silence);
      control.abort();
      ended.signal.removeEventListener('abort', end);
      window.removeEventListener('offline', end);
    }
  }

  async function run() {
    onState('connecting');
    while (!ended.signal.aborted) {
      const problem = await read();
      if (ended.signal.aborted) return;
      if (problem?.status === 401) {
        onState('login', problem);
        return;
      }
      tries += 1;
      live = false;
      onState('lost', problem);
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, retryMS[Math.min(tries, retryMS.length - 1)]);
      });
    }
  }

  const again = () => { if (!document.hidden) wake(); };
  window.addEventListener('online', again, { signal: ended.signal });
  document.addEventListener('visibilitychange', again, { signal: ended.signal });
  run();
  return () => {
    ended.abort();
    wake();
  };
}
