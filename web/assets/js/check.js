// check.js: the entry point of check.html: tries what the person's network lets through to
// the nearest site, or to that of ?site=, and says it in words.

import * as api from './api.js';
import { TRIES, VERDICTS, label, relaysOf, request, sentence, summary } from './check/findings.js';
import { tryBrain, tryReach, tryRelays, trySocket, tryVideo } from './check/tries.js';
import { survey } from './survey.js';
import { el, setText } from './ui/dom.js';
import { icon } from './ui/icons.js';
import { wordmark } from './ui/logo.js';
import { ms, place } from './words.js';

const ICONS = { works: 'check', fails: 'close', untried: 'minus' };
const COPIED_MS = 3000;

document.querySelector('#brand').replaceWith(wordmark());

const head = el('h1');
const text = el('p.lead');
const bar = el('progress', { max: TRIES.length, value: 0, 'aria-label': 'Tried so far' });
const again = el('button.quiet', { type: 'button', hidden: true, onclick: () => choose() }, icon('again'), el('span', {}, 'Check again'));
const home = el('a.quiet', { href: '/', hidden: true }, 'All apps');
const verdict = el('section.verdict', { role: 'status', 'aria-live': 'polite' }, head, text);
const at = el('p.over');
const list = el('ol.tries', { 'aria-label': 'What was tried' });
const letter = el('pre', { tabIndex: 0, role: 'region', 'aria-label': 'Text for the people who run your network' });
const copyLabel = el('span', {}, 'Copy');
const copied = el('span.told', { role: 'status' });
const copy = el('button.quiet', { type: 'button', onclick: copyLetter }, icon('copy'), copyLabel);
const ask = el('section.ask', { hidden: true },
  el('div.ask-head', {}, el('h2', {}, 'For the people who run your network'), copy, copied), letter);
const others = el('section.others', { hidden: true }, el('h2', {}, 'Sites'), el('ul'));
const main = document.querySelector('#check');
main.append(at, verdict, bar, list, el('div.actions', {}, again, home), ask, others);

const rows = new Map(TRIES.map((id) => {
  const row = { sign: el('span.sign'), name: el('h2'), verdict: el('span.word'), text: el('p') };
  row.node = el('li', {}, row.sign, row.name, row.verdict, row.text);
  list.append(row.node);
  return [id, row];
}));

let running = null;
let findings = {};
let about = {};

// show draws all that is known.
function show() {
  for (const [id, row] of rows) {
    const finding = findings[id];
    if (row.node.dataset.verdict !== finding.verdict) {
      row.node.dataset.verdict = finding.verdict;
      row.sign.replaceChildren(...(ICONS[finding.verdict] ? [icon(ICONS[finding.verdict])] : []));
    }
    setText(row.name, label(id, about));
    setText(row.verdict, VERDICTS[finding.verdict]);
    setText(row.text, sentence(id, finding, about));
  }
  const now = summary(findings, about);
  bar.value = TRIES.filter((id) => findings[id].verdict !== 'trying').length;
  bar.hidden = now.kind !== 'trying';
  setText(at, about.site ? `To ${place(about.site)}` : 'Nearcast');
  setText(head, now.head);
  setText(text, now.text);
  const done = now.kind !== 'trying';
  verdict.dataset.kind = now.kind;
  main.setAttribute('aria-busy', String(!done));
  again.hidden = home.hidden = ask.hidden = !done;
  if (done) setText(letter, request(findings, about, { now: new Date(), agent: navigator.userAgent }));
}

// run checks one site; without a name, the nearest.
async function run(wanted) {
  running?.abort();
  const { signal } = running = new AbortController();
  wanted ??= about.site;
  findings = Object.fromEntries(TRIES.map((id) => [id, { verdict: 'trying' }]));
  about = { page: location.origin, site: '', healthy: true, brain: '', network: null };
  const found = (more, things = {}) => {
    if (signal.aborted) return;
    Object.assign(findings, more);
    Object.assign(about, things);
    show();
  };
  const untried = (why, ...ids) => Object.fromEntries(ids.map((id) => [id, { verdict: 'untried', why }]));
  show();
  tryVideo().then((video) => found({ video }));

  const { sites, page, race, problem } = await nearest(signal);
  found({ page }, { problem });
  const site = sites.find((s) => s.site === wanted) ?? sites.find((s) => s.site === race?.leader()) ?? sites.find((s) => s.healthy) ?? sites[0];
  if (!site) {
    found(untried('no-site', 'brain', 'socket', 'udp', 'tcp', 'tls', 'seat', 'distance'));
    return;
  }
  const rtts = race?.results() ?? {};
  const distance = site.site in rtts ? { verdict: 'works', ms: rtts[site.site] } : { verdict: 'fails' };
  found({ distance }, { site: site.site, healthy: site.healthy, brain: site.brain_url ?? '' });
  if (!signal.aborted) showSites(sites, rtts);
  if (!site.brain_url) {
    found(untried('no-brain', 'brain', 'socket', 'udp', 'tcp', 'tls', 'seat'));
    return;
  }
  const socket = trySocket(site.brain_url, signal).then((f) => found({ socket: f }));
  const { finding, network } = await tryBrain(site.brain_url, signal);
  found({ brain: finding }, { network });
  if (network) {
    const relays = relaysOf(network);
    await Promise.all(Object.keys(relays).map(async (way) => found({ [way]: await tryRelays(relays[way], signal) })));
  } else {
    found(untried(finding.verdict === 'fails' ? 'unreached' : 'no-network', 'udp', 'tcp', 'tls'));
  }
  await socket;
  found({ seat: { verdict: 'untried', udp: findings.udp.verdict } });
}

// nearest asks for the sites and measures them: {sites, page, race, problem}.
async function nearest(signal) {
  try {
    const response = await api.listSites(signal);
    performance.clearResourceTimings(); // there is room for 250; each probe is read from there
    const race = survey(response, '', { signal, ask: (request) => api.probes(request, signal) });
    await race.decided;
    await Promise.race([race.all, new Promise((resolve) => { setTimeout(resolve, 1000); })]);
    return { sites: response.sites ?? [], page: { verdict: 'works' }, race };
  } catch (error) {
    // A router that answers with an error was reached.
    const problem = error.problem?.status > 0 ? error.problem : undefined;
    return { sites: [], page: problem ? { verdict: 'works' } : await tryReach('/healthz', signal), race: null, problem };
  }
}

// showSites lists all sites, the nearest first, those that were not measured last.
function showSites(sites, rtts) {
  const far = (s) => rtts[s.site] ?? Infinity;
  const item = (s) => {
    const chosen = s.site === about.site;
    const how = !s.healthy ? 'out of service' : s.site in rtts ? ms(rtts[s.site]) : 'not measured';
    return el('li', {}, el('b', {}, place(s.site)), el('span', {}, how),
      chosen ? el('em', {}, 'checked') : el('button.link', { type: 'button', 'aria-label': `Check ${place(s.site)}`, onclick: () => choose(s.site) }, 'Check'));
  };
  others.querySelector('ul').replaceChildren(...[...sites].sort((a, b) => far(a) - far(b) || a.site.localeCompare(b.site)).map(item));
  others.hidden = sites.length < 2;
}

// choose checks again, or another site. What was pressed is hidden: the focus goes on.
function choose(site) {
  run(site);
  head.tabIndex = -1;
  head.focus({ preventScroll: true });
  window.scrollTo({ top: 0 });
}

async function copyLetter() {
  try {
    await navigator.clipboard.writeText(letter.textContent);
    setText(copied, 'Copied');
  } catch {
    // Not allowed here, as on a page without HTTPS: the person copies it.
    getSelection().selectAllChildren(letter);
    setText(copied, 'Selected: copy it with your browser');
  }
  setTimeout(() => setText(copied, ''), COPIED_MS);
}

run(new URLSearchParams(location.search).get('site') ?? undefined);
