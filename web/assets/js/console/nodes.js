// nodes.js: the list of nodes, and the page of one, where it can be drained.

import { el, setText } from '../ui/dom.js';
import { icon } from '../ui/icons.js';
import * as calls from './calls.js';
import { ask } from './confirm.js';
import { bar, facts } from './facts.js';
import { NONE, many, share } from './format.js';
import { listPage } from './lists.js';
import { write } from './route.js';

// stateOf is a node's state in a word or two.
export function stateOf(n) {
  if (n.status !== 'ready') return n.status || 'unknown';
  if (n.draining) return 'draining';
  return n.eligible ? 'ready' : 'takes nothing new';
}

const used = (n) => ['claimed', 'streaming', 'detached'].reduce((sum, state) => sum + (n.seats?.[state] ?? 0), 0);
const seats = (n) => Object.values(n.seats ?? {}).reduce((sum, count) => sum + count, 0);
const part = (n, value) => (n.load ? share(value ?? 0) : NONE);
const tone = (value) => (value >= 0.85 ? 'bad' : value >= 0.6 ? 'busy' : '');

export function nodesPage(ctx) {
  const load = (id, name) => ({ id, name, num: true, down: true, text: (n) => part(n, n[id]), value: (n) => (n.load ? n[id] ?? 0 : undefined), tone: (n) => tone(n[id]) });
  return listPage(ctx, {
    kind: 'nodes', heading: 'Nodes', one: 'node', sort: 'cpu', down: true,
    columns: [
      { id: 'name', name: 'Node', text: (n) => n.name, value: (n) => n.name },
      { id: 'site', name: 'Site', text: (n) => n.site, value: (n) => n.site },
      { id: 'pool', name: 'Pool', text: (n) => n.pool, value: (n) => n.pool },
      { id: 'state', name: 'State', text: stateOf, value: stateOf, tone: (n) => ({ ready: 'good', draining: 'busy' })[stateOf(n)] ?? 'bad' },
      { id: 'load', name: 'Load', text: (n) => n.load || NONE, value: (n) => ['calm', 'busy', 'full', 'leaving'].indexOf(n.load), tone: (n) => ({ busy: 'busy', full: 'bad', leaving: 'busy' })[n.load] ?? '' },
      load('cpu', 'CPU'), load('memory', 'Memory'), load('gpu', 'GPU'),
      { id: 'used', name: 'People', num: true, down: true, text: used, value: used },
      { id: 'seats', name: 'Seats', num: true, down: true, text: seats, value: seats },
      { id: 'version', name: 'Version', text: (n) => n.version || NONE, value: (n) => n.version },
    ],
    filters: [
      { id: 'site', label: 'Site', of: (n) => n.site },
      { id: 'pool', label: 'Pool', of: (n) => n.pool },
      { id: 'state', label: 'State', of: stateOf },
    ],
    find: (n) => `${n.name} ${n.id} ${n.site} ${n.pool} ${n.node_class ?? ''} ${n.address ?? ''} ${n.version ?? ''}`,
  });
}

const DEADLINES = [[600, '10 minutes'], [3600, '1 hour'], [7200, '2 hours'], [28_800, '8 hours'], [86_400, '1 day']];

export function nodePage({ model, can, route: { key } }) {
  const heading = el('h1', { tabIndex: -1 }, 'Node');
  const gone = el('p.ribbon', { role: 'status', hidden: true }, icon('alert'), 'This node is gone, or its site cannot be read. What is shown is the last that was known.');
  const is = facts('The node');
  const its = facts('Its seats');
  const bars = ['CPU', 'Memory', 'GPU'].map(bar);
  const unread = el('p.told', {}, 'Its load is not known: it has no seats, or does not tell.');
  const people = el('a.quiet', {}, 'Sessions here');
  const button = (text, act, run) => el('button.quiet', { type: 'button', hidden: true, 'data-act': act, onclick: run }, text);
  const drain = button('Drain', 'node.drain', () => ask({
    title: `Drain ${last.name}?`, go: 'Drain', grave: true, done: `${last.name} drains.`,
    text: `Nothing new starts there. ${many(used(last), 'person', 'people')} may play on until the deadline; the sessions that are left then end. Idle seats stay until then, and people may still get them.`,
    fields: [{ id: 'deadline', label: 'Deadline', options: DEADLINES, value: 3600 }],
    act: ({ deadline }) => calls.orderNode(last.site, last.id, { action: 'node.drain', deadline_s: Number(deadline) }),
  }));
  const keep = button('Take nothing new', 'node.ineligible', () => ask({
    title: `Let nothing new start on ${last.name}?`, go: 'Take nothing new', done: `${last.name} takes nothing new.`,
    text: 'What runs there goes on without a limit. Idle seats stay, and people still get them.',
    act: () => calls.orderNode(last.site, last.id, { action: 'node.ineligible' }),
  }));
  const free = button('Take seats again', 'node.eligible', () => ask({
    title: `Use ${last.name} again?`, go: 'Take seats again', done: `${last.name} takes seats again.`,
    text: last.draining ? 'The drain ends, and new seats may start there.' : 'New seats may start there.',
    act: () => calls.orderNode(last.site, last.id, { action: 'node.eligible' }),
  }));
  const node = el('section.detail', {}, el('p.crumb', {}, el('a', { href: '#nodes' }, 'Nodes')), heading, gone, el('div.actions', {}, people, drain, keep, free),
    el('div.columns', {}, el('section.panel', {}, el('h2', {}, 'Load'), unread, bars.map((b) => b.node)),
      el('section.panel', {}, el('h2', {}, 'Node'), is.node), el('section.panel', {}, el('h2', {}, 'Seats'), its.node)));
  let last = null;

  function update() {
    const n = model.nodes.get(key);
    gone.hidden = Boolean(n) || !model.complete;
    if (n) last = n;
    const may = (act) => Boolean(n) && can(act);
    drain.hidden = !may('node.drain') || n.draining;
    keep.hidden = !may('node.ineligible') || !n.eligible;
    free.hidden = !may('node.eligible') || (n.eligible && !n.draining);
    people.hidden = !n;
    if (!last) return;
    setText(heading, last.name);
    people.href = write('sessions', '', { q: last.name });
    is.update([['Site', last.site], ['State', stateOf(last)], ['Pool', last.pool], ['Class', last.node_class], ['Address', last.address], ['Id', last.id], ['Driver', last.version], ['Nomad', last.nomad]]);
    its.update(Object.entries(last.seats ?? {}));
    unread.hidden = Boolean(last.load);
    bars.forEach((b, i) => {
      const value = [last.cpu, last.memory, last.gpu][i] ?? 0;
      b.node.hidden = !last.load;
      b.update(value, share(value));
    });
  }
  return { node, title: `Node ${key.split('/').at(-1).slice(0, 8)}`, update, close() {} };
}
