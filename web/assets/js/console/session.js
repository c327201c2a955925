// session.js: the page of one session: what it is like, why it is slow, why the person is where they are, a still of what they see, and
// its end.

import { source } from '../later/words.js';
import { el, setText } from '../ui/dom.js';
import { icon } from '../ui/icons.js';
import * as calls from './calls.js';
import { ask, words } from './confirm.js';
import { facts } from './facts.js';
import { fps, millis, rate, share, short, since, span, when } from './format.js';
import { write } from './route.js';
import { whose } from './sessions.js';
import { PARTS, verdict } from './verdict.js';

const PART_NAMES = { network: 'Network', encoder: 'Encoder', browser: 'Browser', app: 'App' };

export function sessionPage(ctx) {
  const { model, can, me, now, route: { key: id } } = ctx;
  const heading = el('h1', { tabIndex: -1 }, `Session ${short(id)}`);
  const head = el('h2');
  const text = el('p.lead');
  const parts = el('div.parts');
  const why = el('section.panel.why-slow', { 'aria-label': 'Why it is slow' }, head, text, parts);
  const is = facts('The session');
  const now_ = facts('What is measured now');
  const far = facts('What it was like so far');
  const place = el('div', {}, el('p.told', {}, 'Loading …'));
  const over = el('p.ribbon', { role: 'status', hidden: true }, icon('alert'), 'This session is over, or its site cannot be read. What is shown is the last that was known.');
  const end = el('button.quiet', { type: 'button', hidden: true, onclick: endIt }, icon('end'), el('span', {}, 'End session'));
  const look = el('button.quiet', { type: 'button', hidden: true, onclick: lookAt }, icon('look'), el('span', {}, 'Look at the picture'));
  const picture = still();
  const node = el('section.detail', {}, el('p.crumb', {}, el('a', { href: '#sessions' }, 'Sessions')), heading, el('p.id', {}, id), over, el('div.actions', {}, look, end),
    picture.node, why, el('div.columns', {},
      el('section.panel', {}, el('h2', {}, 'Session'), is.node),
      el('section.panel', {}, el('h2', {}, 'Now'), now_.node),
      el('section.panel', {}, el('h2', {}, 'So far'), far.node)),
    el('section.panel', {}, el('h2', {}, 'Why this site'), place));
  let last = null;
  let drawn = '';

  function update() {
    const s = model.sessions.get(id);
    over.hidden = Boolean(s) || !model.complete;
    end.hidden = !s || !can('session.end');
    look.hidden = !s || s.state !== 'streaming' || !can('session.still') || !(s.stills === 'operator' || (s.stills === 'admin' && me.role === 'admin'));
    if (s) last = s;
    if (!last) return;
    const m = last.measured;
    is.update([['Customer · subject', whose(last)], ['App', last.app, write('apps', `${last.site}/${last.app}`)], ['Site', last.site, write('sessions', '', { site: last.site })],
      ['State', `${last.state}, for ${since(last.since, now())}`], ['Ends at the latest', last.until ? when(last.until) : ''], ['Seat', last.seat],
      ['Node', last.node, model.nodeOf(last) && write('nodes', `${last.site}/${model.nodeOf(last).id}`)]]);
    now_.update(m ? [['Round trip', millis(m.rtt_ms)], ['Pictures a second', `${fps(m.fps)} of ${fps(m.paints)} painted`], ['Bitrate', `${rate(m.bitrate_kbps)} of ${rate(m.target_kbps)}`],
      ['Loss', share(m.loss)], ['Waits in the network', millis(m.queue_ms)], ['Capture, encode', `${millis(m.capture_ms)}, ${millis(m.encode_ms)}`],
      ['Input to display', m.inject_ms ? millis(m.inject_ms) : 'no input'], ['Encoder', [m.encoder, m.preset].filter(Boolean).join(', ')], ['Picture', m.width ? `${m.width} × ${m.height}` : ''],
      ['Browser shows', m.page ? `${fps(m.page.fps)} a second` : ''], ['Browser decodes in', m.page ? millis(m.page.decode_ms) : ''], ['Measured', `${since(m.at, now())} ago`]] : [['Measured', 'nothing yet']]);
    const q = last.quality;
    far.update(q ? [['Connected', span(q.duration_s * 1000)], ['Round trip, mean', millis(q.rtt_ms)], ['Round trip, p95', millis(q.rtt_p95_ms)], ['Pictures a second', fps(q.fps)],
      ['Bitrate', rate(q.bitrate_kbps)], ['Loss', share(q.loss)], ['Stood still', q.frozen_s ? span(q.frozen_s * 1000) : 'never']] : [['Measured', 'nothing yet']]);
    judge(verdict({ measured: m, state: last.state, node: model.nodeOf(last), now: now() }));
  }

  function judge(v) {
    why.dataset.cause = v.old ? 'unknown' : v.cause;
    setText(head, v.head);
    setText(text, v.text);
    const state = JSON.stringify(v.findings);
    if (state === drawn) return;
    drawn = state;
    parts.replaceChildren(...PARTS.flatMap((part) => {
      const found = v.findings.filter((f) => f.part === part);
      if (found.length === 0) return [];
      return [el('div', {}, el('h3', {}, PART_NAMES[part]), el('ul', {}, found.map((f) => el(f.bad ? 'li.bad' : 'li', {}, icon(f.bad ? 'alert' : 'check'), el('span', {}, f.text)))))];
    }));
  }

  // The placement does not change while a session lasts.
  async function placement() {
    try {
      const { session: s, placement: p, unplaced } = await calls.session(id);
      last ??= s;
      place.replaceChildren(...(p ? ranking(p) : [el('p.told', {}, unplaced || 'Nobody remembers why.')]));
      update();
    } catch (error) {
      if (error.problem?.status === 404 && !model.sessions.has(id)) over.hidden = false;
      place.replaceChildren(el('p.hint', { role: 'alert' }, words(error)));
    }
  }

  function lookAt() {
    ask({
      title: 'Look at the picture?', go: 'Look', act: async () => picture.show(await calls.still(id)), done: 'One still was made.',
      text: `You get one still of what the person of ${whose(last)} sees in ${last.app} now. They are told that somebody looks, and the log says that it was you. It is kept nowhere: this page forgets it when you leave.`,
    });
  }

  function endIt() {
    ask({
      title: 'End this session?', go: 'End session', grave: true, act: () => calls.end(id), done: 'The session ends.',
      text: `The person of ${whose(last)} is in ${last.app} at ${last.site}. Their picture ends at once, and what the app has not saved is lost. They read that the session ended, and may play again.`,
    });
  }

  placement();
  return { node, title: `Session ${short(id)}`, update, close: () => picture.forget() };
}

// still shows a wire.Still. It is drawn, so that no cache of the browser has it.
function still() {
  const canvas = el('canvas', { role: 'img' });
  const told = el('figcaption.told');
  const node = el('figure.still', { hidden: true }, canvas, told);
  return {
    node,
    async show({ jpeg, at, width, height }) {
      const bytes = Uint8Array.from(atob(jpeg), (c) => c.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/jpeg' }));
      Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
      canvas.getContext('2d').drawImage(bitmap, 0, 0);
      bitmap.close();
      canvas.setAttribute('aria-label', 'What the person saw');
      setText(told, `What the person saw ${when(at)}, ${width} × ${height}.`);
      node.hidden = false;
    },
    forget() {
      Object.assign(canvas, { width: 0, height: 0 });
      node.hidden = true;
    },
  };
}

// ranking says how sites were ranked.
function ranking({ at, router, entry, candidates, preferences }) {
  const asked = Object.entries(preferences ?? {}).filter(([, v]) => v && (!Array.isArray(v) || v.length > 0)).map(([k, v]) => `${k.replaceAll('_', ' ')}: ${Array.isArray(v) ? v.join(', ') : typeof v === 'object' ? JSON.stringify(v) : v}`);
  return [
    el('p.told', {}, `Ranked ${when(at)} by ${router || 'a router'} at ${entry}${asked.length > 0 ? `. The launch asked for ${asked.join('; ')}` : ''}.`),
    el('div.scroll', { tabIndex: 0, role: 'region', 'aria-label': 'How the sites were ranked' }, el('table', {}, el('thead', {}, el('tr', {}, ['Site', 'Round trip', 'Wait', 'Load', 'Score', 'Reason'].map((h) => el('th', { scope: 'col' }, h)))),
      el('tbody', {}, candidates.map((c, i) => el(c.excluded ? 'tr.excluded' : i === 0 ? 'tr.chosen' : 'tr', {}, el('th', { scope: 'row' }, c.site),
        el('td.num', {}, `${millis(c.rtt_ms)}${c.rtt_error_ms > 0 ? ` ± ${millis(c.rtt_error_ms)}` : ''}`, el('small', {}, ` ${source(c.rtt_source)}`)),
        el('td.num', {}, millis(c.wait_ms)), el('td.num', {}, millis(c.load_ms)), el('td.num', {}, Math.round(c.score)), el('td', {}, c.excluded || c.reason)))))),
  ];
}
