// findings.js: what was found out about a person's network, in words: a sentence for each
// try, one for all of them, and a text for the people who run the network. Pure.
//
// A finding is {verdict, …}: 'trying', 'works', 'fails' or 'untried', with ms where a time
// was measured and why where it is known. About is what the findings are about:
// {page, site, healthy, brain, network, problem}: the page's origin, a wire.SiteView's name,
// health and brain_url, its brain's wire.Network, or null, and the problem with which the
// router answered instead of telling the sites.

import { ms, place } from '../words.js';
import '../later/en.js'; // names of places

export const VERDICTS = { trying: 'trying', works: 'works', fails: 'does not work', untried: 'not tried' };

// TRIES are all tries, in the order in which they are shown.
export const TRIES = ['page', 'brain', 'socket', 'udp', 'tcp', 'tls', 'seat', 'distance', 'video'];

const RELAYS = ['udp', 'tcp', 'tls'];
const MAX_RELAYS = 4; // of each way
const FAR_MS = 120; // from here on most people feel the delay

// wayOf is the kind of try to which a TURN server's URL belongs.
export function wayOf(url) {
  if (url.startsWith('turns:')) return 'tls';
  return /[?&]transport=tcp\b/.test(url) ? 'tcp' : 'udp';
}

const PORTS = { 'http:': 80, 'ws:': 80, 'https:': 443, 'wss:': 443, 'turn:': 3478, 'turns:': 5349 };

// endOf reads host and port of a URL: of a page, a brain or a TURN server. null: unreadable.
export function endOf(url) {
  const found = /^(\w+:)(?:\/\/)?(\[[^\]]+\]|[^:/?[\]]+)(?::(\d+))?(?:[/?]|$)/.exec(typeof url === 'string' ? url : '');
  if (!found || !(found[1] in PORTS)) return null;
  return { host: found[2], port: Number(found[3] ?? PORTS[found[1]]) };
}

const secure = (url) => /^(https|wss):/.test(url ?? '');
const web = (url) => (secure(url) ? 'HTTPS' : 'HTTP');
const where = (url) => endOf(url)?.host ?? 'its address';

// What a proxy answered in a brain's place may have any form.
const listOf = (value) => (Array.isArray(value) ? value : []);

// relaysOf are the TURN servers of a wire.Network by way.
export function relaysOf(network) {
  const out = { udp: [], tcp: [], tls: [] };
  for (const server of listOf(network?.ice_servers)) {
    for (const url of listOf(server?.urls)) {
      const way = endOf(url) && /^turns?:/.test(url) ? out[wayOf(url)] : [];
      if (way.length < MAX_RELAYS) way.push({ ...server, urls: [url] });
    }
  }
  return out;
}

const WAYS = { udp: 'UDP', tcp: 'TCP', tls: 'TLS' };

export function label(id, about) {
  switch (id) {
    case 'page': return `${web(about.page)} to the router`;
    case 'brain': return `${web(about.brain || about.page)} to the site`;
    case 'socket': return 'WebSocket to the site';
    case 'seat': return 'Straight to the machine';
    case 'distance': return 'Round trip';
    case 'video': return 'Video in this browser';
    default: return `${WAYS[id]} to the relay`;
  }
}

const UNTRIED = {
  'no-site': 'No site is in service now, so there was nothing to try.',
  'no-brain': 'The site has no address for this now.',
  unreached: 'The site did not answer, so it could not say where its relay is.',
  'no-network': 'The site did not say where its relay is.',
  'no-webrtc': 'This browser has no WebRTC, or it is switched off.',
};

// sentence says in one sentence what came of a try.
export function sentence(id, finding, about) {
  const { verdict, why } = finding;
  const works = verdict === 'works';
  if (verdict === 'trying') return '';
  if (id === 'seat') return seat(about, finding);
  if (verdict === 'untried' && UNTRIED[why]) return UNTRIED[why];
  switch (id) {
    case 'page': return works ? `${where(about.page)} answers.` : `${where(about.page)} does not answer any more.`;
    case 'brain': return works ? `${where(about.brain)} answers.` : `${where(about.brain)} does not answer.`;
    case 'socket': return works ? `A WebSocket to ${where(about.brain)} opens.` : `A WebSocket to ${where(about.brain)} does not open.`;
    case 'distance':
      if (!works) return 'The site did not answer the measurement.';
      return `To ${place(about.site)} and back takes ${ms(finding.ms)}${finding.ms > FAR_MS ? ': the app will answer late' : ''}.`;
    case 'video': return video(finding);
    default: return relay(id, finding, about);
  }
}

function relay(id, { verdict }, about) {
  const ends = relaysOf(about.network)[id].map(({ urls }) => endOf(urls[0])).filter(Boolean);
  const at = ends.map(({ host, port }) => `${host}, port ${port}`).join(' or ');
  if (verdict === 'works') return `The relay at ${at} answers.`;
  if (verdict === 'fails') return `The relay at ${at} does not answer.`;
  return `The site has no relay by ${WAYS[id]}, so only a session can show what comes of ${WAYS[id]}.`;
}

function seat(about, { udp }) {
  const ports = portsOf(about.network);
  const what = `Only a session can try the machine that would run your app${ports ? ` (UDP or TCP, ports ${ports})` : ''}.`;
  return udp === 'works' ? `${what} It should work, as UDP does, unless your network allows single ports only.` : what;
}

// The plugin is Cisco's, and Firefox fetches it itself.
const SWITCH_ON = 'switch on its H.264; in Firefox that is the plugin OpenH264';
const onlyVP8 = ({ verdict, codec }) => verdict === 'works' && codec === 'VP8';

function video(finding) {
  const { verdict, smooth, why } = finding;
  if (why === 'no-webrtc') return 'It has no WebRTC, by which the video comes, or that is switched off.';
  if (onlyVP8(finding)) return `It decodes VP8 and not H.264, in which most apps come. For those, use another browser, or ${SWITCH_ON}.`;
  if (verdict === 'works') return smooth === false ? 'It decodes H.264, but perhaps not 60 pictures a second of 1280 × 720.' : 'It decodes H.264.';
  if (verdict === 'fails') return `It decodes neither H.264 nor VP8, in which the video comes. Use another browser, or ${SWITCH_ON}.`;
  return 'It does not say what it decodes.';
}

const portsOf = (network) => listOf(network?.media_ports).join(', ');
const over = (findings) => TRIES.every((id) => findings[id] && findings[id].verdict !== 'trying');

const no = (head, text) => ({ kind: 'no', head, text });

// summary is what all of it means for the person: {kind, head, text}. kind is 'trying',
// 'yes', 'relay' (they can play, but not well), 'maybe' or 'no'.
export function summary(findings, about) {
  if (!over(findings)) return { kind: 'trying', head: 'Trying what your network lets through', text: '' };
  const line = network(findings, about);
  if (onlyVP8(findings.video)) {
    if (line.kind === 'no') return line;
    return { ...line, kind: 'maybe', head: line.head.replace('play from', 'play some apps from'), text: `${line.text} This browser cannot show the apps whose video is H.264.` };
  }
  if (findings.video.verdict !== 'fails') return line;
  const need = findings.video.why === 'no-webrtc' ? 'has WebRTC' : 'decodes H.264';
  const besides = { yes: ' Your network is not at fault.', relay: ' Your network is not at fault.', maybe: '', no: ` Besides: ${line.head}.` };
  return no('This browser cannot show the video', `Use a browser that ${need}.${besides[line.kind]}`);
}

// network is the same for the network alone.
function network(findings, about) {
  const is = (id) => findings[id].verdict;
  if (about.problem) return no(about.problem.title, about.problem.detail || 'Try again in a moment.');
  if (!about.site) {
    return is('page') === 'works' ? no('No site is in service now', 'Your network is not at fault. Try again in a moment.')
      : no('Nothing answers', 'Check your connection. If other sites work, your network blocks this one, or the service is down.');
  }
  if (is('brain') === 'fails' || is('socket') === 'fails') return unreached(is, about);
  if (is('socket') === 'untried') return no('The site takes nobody now', 'Your network is not at fault. Try again in a moment.');
  const relayed = ['tcp', 'tls'].find((id) => is(id) === 'works');
  if (is('udp') === 'works') return { kind: 'yes', head: 'You can play from here', text: 'Your network lets video through.' };
  if (is('udp') === 'fails' && relayed) {
    return { kind: 'relay', head: 'You can play from here', text: `UDP does not get through to the relay, so the video may come by ${WAYS[relayed]}. Then it stops for a moment where the line is bad.` };
  }
  if (relayed) return { kind: 'yes', head: 'You can play from here', text: `Video gets through by ${WAYS[relayed]} at least. UDP was not tried.` };
  if (RELAYS.every((id) => is(id) === 'untried')) {
    return { kind: 'maybe', head: 'You can probably play from here', text: 'The site can be reached. Video was not tried, as this page knows no relay of the site: press Play to find out.' };
  }
  const ports = portsOf(about.network);
  const ask = 'Try another network, or switch off your VPN. The text below says what to ask for.';
  if (!ports) return no('Your network blocks video', `${tried(is)}. ${ask}`);
  return { kind: 'maybe', head: 'Your network may block video', text: `${tried(is)}. The machine that would run your app was not tried (UDP or TCP, ports ${ports}): press Play to find out. If no video comes: ${ask}` };
}

// unreached: brain or socket failed.
function unreached(is, about) {
  const at = place(about.site);
  if (!about.healthy) return no('The site is out of service', 'Your network is not at fault: other parts of the service do not reach it either. Try again in a moment.');
  if (is('page') === 'fails') return no('Nothing answers', 'Check your connection. If other sites work, your network blocks this one.');
  if (is('brain') === 'works') return no('Your network blocks WebSockets', `The site answers, but no WebSocket to it opens. Or ${at} takes nobody now: then another network shows the same.`);
  return no(`Your network blocks ${at}`, 'The router reaches the site, and your browser does not. The text below says what to ask for.');
}

function tried(is) {
  const failed = RELAYS.filter((id) => is(id) === 'fails').map((id) => WAYS[id]);
  return `The site's relay does not answer by ${failed.length > 1 ? `${failed.slice(0, -1).join(', ')} or ${failed.at(-1)}` : failed[0]}`;
}

// needs are what a network must let out: {needed, media}, each a list of {protocol, port,
// host, use}. Of media one is enough; the best comes first.
export function needs(about) {
  const line = (url, protocol, use) => {
    const end = endOf(url);
    return end ? [{ protocol, port: String(end.port), host: end.host, use }] : [];
  };
  const ports = portsOf(about.network);
  const any = ['UDP', 'TCP'].map((protocol) => ({ protocol, port: ports, host: 'any address', use: 'the machines that run the apps; their addresses change' }));
  const relays = relaysOf(about.network);
  return {
    needed: [...line(about.page, 'TCP', `pages (${web(about.page)})`), ...line(about.brain, 'TCP', `the site (${web(about.brain)} and WebSocket)`)],
    media: [...(ports ? any : []), ...RELAYS.flatMap((id) => relays[id].flatMap(({ urls }) =>
      line(urls[0], id === 'udp' ? 'UDP' : 'TCP', `relay (TURN${id === 'tls' ? ' by TLS' : ''})`)))],
  };
}

// request is a text for the people who run the person's network.
export function request(findings, about, { now, agent }) {
  const { needed, media } = needs(about);
  const row = ({ protocol, port, host, use }) => `${protocol} ${port} to ${host}: ${use}`;
  const lines = [
    `Nearcast streams applications to the browser by WebRTC${about.site ? `, here from the site ${about.site}` : ''}.`,
    'All connections go out from the browser. Please let these through:', '',
    ...needed.map((n) => `- ${row(n)}`), ''];
  if (media.length > 0) {
    lines.push('For the video, one of these; the first is the best:', '',
      ...media.map((n, i) => `${i + 1}. ${row(n)}`), '');
  }
  if (about.site && !about.network) lines.push('The site could not be asked what the video needs. Please check again once these are open.', '');
  lines.push('A proxy must pass WebSockets on, and must not open TLS to a relay.', '',
    `What a browser in your network found at ${now.toISOString().slice(0, 16).replace('T', ' ')} UTC:`, '',
    ...TRIES.map((id) => `- ${label(id, about)}: ${VERDICTS[findings[id].verdict]}. ${sentence(id, findings[id], about)}`), '', `Browser: ${agent}`);
  return `${lines.join('\n')}\n`;
}
