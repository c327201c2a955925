// words.js: every state, reason and code of internal/wire as a sentence for the
// person at the page. Pure; a test compares it with wire, so that nothing is missing.

// availability says whether an app can be played now. sites is {site: Capacity}.
export function availability(sites) {
  const all = Object.entries(sites ?? {});
  if (all.length === 0) return { kind: 'none', label: 'Not available', hint: 'No site offers this app at the moment.' };
  const ready = all.filter(([, c]) => c.idle > 0);
  const where = (some) => (some.length === 1 ? some[0][0] : `${some.length} sites`);
  if (ready.length > 0) return { kind: 'ready', label: 'Ready now', where: where(ready) };
  const startable = all.filter(([, c]) => !c.failing && c.idle + c.busy + c.starting < c.max);
  const coming = all.filter(([, c]) => !c.failing && c.starting > c.queued);
  const open = startable.length > 0 ? startable : coming;
  if (open.length > 0) {
    const known = open.map(([, c]) => c.cold_start_ms).filter((ms) => ms > 0);
    const label = known.length > 0 ? `Starts in ${about(Math.min(...known))}` : 'Starts on demand';
    return { kind: 'cold', label, where: where(open) };
  }
  const failing = all.find(([, c]) => c.failing);
  if (failing && all.every(([, c]) => c.failing)) {
    return { kind: 'failing', label: 'Does not start', hint: failing[1].failing, where: where(all) };
  }
  const waiting = all.reduce((n, [, c]) => n + c.queued, 0);
  const label = waiting > 0 ? `Full, ${waiting} waiting` : 'Full';
  return { kind: 'full', label, where: where(all) };
}

// heldWords says that a session of the app is held, here or in another tab.
export const heldWords = () => ({ kind: 'ready', label: 'Continue your session' });

// about gives a duration in words, as exact as it is known.
export function about(ms) {
  const s = ms / 1000;
  if (s <= 1.5) return 'about a second';
  if (s < 10) return `about ${Math.round(s)} s`;
  if (s < 55) return `about ${Math.round(s / 5) * 5} s`;
  if (s < 90) return 'about a minute';
  return `about ${Math.round(s / 60)} min`;
}

// ms formats milliseconds, with a decimal only below ten.
export const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

// Names that people know for AWS's regions.
const PLACES = {
  'af-south-1': 'Cape Town', 'ap-east-1': 'Hong Kong', 'ap-northeast-1': 'Tokyo', 'ap-northeast-2': 'Seoul',
  'ap-northeast-3': 'Osaka', 'ap-south-1': 'Mumbai', 'ap-south-2': 'Hyderabad', 'ap-southeast-1': 'Singapore',
  'ap-southeast-2': 'Sydney', 'ap-southeast-3': 'Jakarta', 'ap-southeast-4': 'Melbourne', 'ca-central-1': 'Montréal',
  'ca-west-1': 'Calgary', 'eu-central-1': 'Frankfurt', 'eu-central-2': 'Zürich', 'eu-north-1': 'Stockholm',
  'eu-south-1': 'Milan', 'eu-south-2': 'Spain', 'eu-west-1': 'Ireland', 'eu-west-2': 'London', 'eu-west-3': 'Paris',
  'il-central-1': 'Tel Aviv', 'me-central-1': 'the Emirates', 'me-south-1': 'Bahrain', 'mx-central-1': 'Mexico',
  'sa-east-1': 'São Paulo', 'us-east-1': 'Virginia', 'us-east-2': 'Ohio', 'us-west-1': 'California', 'us-west-2': 'Oregon',
};

// place is a site's name for people.
export const place = (site) => PLACES[site] ?? site;

// moved says that a site was lost, and where the person is now.
export function moved({ from, to, done }) {
  if (!done) return `${capital(place(from))} stopped answering.`;
  return `${capital(place(from))} stopped answering. You are now at ${place(to)}, and the app has started again.`;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// SOURCES says where a round trip comes from, by wire.RTTSource.
const SOURCES = {
  measured: 'measured from here',
  predicted: 'predicted from coordinates',
  assumed: 'assumed: as measured by the router',
};
export const source = (name) => SOURCES[name] ?? '';

// STATIONS are the steps of a start in their order: a wire.Phase each.
export const STATIONS = [
  { phase: 'placing', label: 'Place', doing: 'Finding a machine', weight: 0.08 },
  { phase: 'content', label: 'Content', doing: 'Fetching content', weight: 0.42 },
  { phase: 'display', label: 'Display', doing: 'Preparing the display', weight: 0.1 },
  { phase: 'app', label: 'App', doing: 'Starting the app', weight: 0.35 },
  { phase: 'ready', label: 'Video', doing: 'Starting the video', weight: 0.05 },
];

// What became of a place in the queue whose brain was lost.
const PLACE_KEPT = 'The connection was interrupted. Your place is kept, and you go on by yourself.';
// No brain has said anything yet: a crowd is at the door, or the network is slow.
const CROWD = 'The site is slow to answer: many people may be coming at this moment. Keep this page open; it goes on by itself.';
const PLACE_LOST = 'Your earlier place in the queue could not be kept.';

// waiting describes a state before the first frame: headline, sentence, and
// progress (0..1, or -1 where it is unknown).
export function waiting(state) {
  const { phase, queue, progress, awayAt, placeLost } = state;
  if (phase === 'launching' && state.moved) return { head: 'Finding another site for you', text: moved(state.moved), fraction: -1, station: -1 };
  if (phase === 'launching' && placeLost) return { head: 'Asking for a new place', text: PLACE_LOST, fraction: -1, station: -1 };
  if (phase === 'launching') return { head: state.relaunches ? 'Trying again' : 'Choosing the nearest site', text: '', fraction: -1, station: -1 };
  if (phase === 'connecting') return { head: 'Connecting', text: state.crowd ? CROWD : '', fraction: -1, station: -1 };
  if (phase === 'reconnecting') return { head: 'Reconnecting', text: 'Your session is still running.', fraction: -1, station: -1 };
  if (phase === 'granted') return { head: 'Starting the video', text: '', fraction: 0.97, station: STATIONS.length - 1 };
  if (phase === 'leaving') return { head: 'Ending the session', text: '', fraction: -1, station: -1 };
  if (phase === 'queued') {
    const n = queue?.position ?? 0;
    const head = n === 1 ? 'You are next' : n > 1 ? `You are number ${n} in the queue` : 'You are in the queue';
    if (awayAt) return { head, text: PLACE_KEPT, fraction: -1, station: -1 };
    if (queue?.paused) return { head, text: 'The site is repairing itself. You keep your place, and go on by yourself.', fraction: -1, station: -1 };
    const known = (queue?.estimate_ms ?? -1) >= 0;
    const text = known ? `It should be your turn in ${about(queue.estimate_ms)}.` : 'All places are taken. You get the next free one when it is your turn.';
    return { head, text: placeLost ? `${PLACE_LOST} ${text}` : text, fraction: -1, station: -1 };
  }
  if (awayAt) return { head: 'Connecting again', text: PLACE_KEPT, fraction: -1, station: -1 };
  const at = Math.max(0, STATIONS.findIndex((s) => s.phase === progress?.phase));
  const within = progress?.fraction >= 0 ? Math.min(1, progress.fraction) : 0;
  const before = STATIONS.slice(0, at).reduce((sum, s) => sum + s.weight, 0);
  return {
    head: STATIONS[at].doing,
    text: progress?.detail ?? '',
    fraction: before + STATIONS[at].weight * within,
    within: progress?.fraction >= 0 ? within : -1,
    station: at,
  };
}

const ENDS = {
  left: ['You left', 'The session has ended. Nothing was kept.'],
  idle: ['You were away', 'There was no input for a while, so the session ended to make room for others.'],
  'time-limit': ['Time is up', 'The session reached its time limit.'],
  lost: ['The connection was lost', 'It could not be restored in time, so the session ended.'],
  'app-exited': ['The app has closed', 'It ended by itself, or you closed it.'],
  drained: ['Stopped by the operator', 'The machine that ran the app is going out of service.'],
  retired: ['This version was retired', 'A newer version of the app has replaced it.'],
  error: ['Something went wrong', 'The session could not continue.'],
};

// ending says that a session will end soon, in a headline and a sentence.
export function ending({ reason, after_s: after }) {
  if (reason === 'time-limit') return ['Others are waiting', `This session may end in ${about(after * 1000)}, to make room for them.`];
  return ['This session will end', `It has ${about(after * 1000)} left.`];
}

const CODES = {
  'content-missing': ['Content is missing', 'A file that the app needs was not found. The operator has to fix this.'],
  'content-denied': ['Content cannot be read', 'The machine has no permission to read a file that the app needs. The operator has to fix this.'],
  'content-truncated': ['Content is incomplete', 'A file that the app needs was only partly downloaded. Trying again may help.'],
  'content-checksum': ['Content has changed', 'A file that the app needs is not the expected one. The operator has to fix this.'],
  'content-store': ['Content cannot be reached', 'The storage with the files of the app does not answer. Try again in a moment.'],
  'content-timeout': ['Content takes too long', 'The files of the app did not arrive in time. Trying again may help: what arrived is kept.'],
  'disk-full': ['The disk is full', 'The machine has no space for the files of the app. Trying again may find another machine.'],
  'display-failed': ['No display', 'The machine could not start a display for the app. Trying again may find another machine.'],
  'app-not-found': ['The app is not installed', 'The machine does not have the program. The operator has to fix this.'],
  'app-no-window': ['The app showed nothing', 'It started, but did not open a window in time.'],
  'app-not-ready': ['The app did not get ready', 'It started, but did not say in time that it can be shown.'],
  'encoder-failed': ['The video stopped', 'The video encoder failed. Trying again may find another machine.'],
  'memory-limit': ['The app needs more memory', 'It used all the memory that its job gives it. The operator has to fix this.'],
  config: ['The app is not set up correctly', 'Its job asks for something that the machine cannot do. The operator has to fix this.'],
  'stream-host-died': ['The session was lost', 'The process that ran your session died unexpectedly. You can start a new session at once.'],
  'too-large': ['No machine is large enough', 'The app asks for more than any machine here has. The operator has to fix this.'],
  'no-capacity': ['All machines are busy', 'No machine has room for this app now. Try again later.'],
};

// ended describes a wire.End. again is the label of the first button, technical is
// what a person would report to an operator.
export function ended(end) {
  const [head, text] = (end.reason === 'error' && CODES[end.code]) || ENDS[end.reason] || ENDS.error;
  const out = { head, text, again: 'Play again', bad: end.reason === 'error', technical: '' };
  if (end.reason === 'app-exited' && (end.signal || end.exit_code)) {
    out.head = 'The app stopped unexpectedly';
    out.text = 'It ended by itself. You can start it again.';
    out.bad = true;
    out.technical = end.signal ? `app-exited(signal ${end.signal})` : `app-exited(${end.exit_code})`;
  } else if (end.reason === 'error') {
    out.technical = end.code ? `error(${end.code})` : 'error';
  }
  if (end.detail && out.technical) out.technical += `: ${end.detail}`;
  if (out.bad || end.reason === 'lost' || end.reason === 'drained') out.again = 'Start again';
  return out;
}

// closed describes why an app cannot be launched from here: it is open only to those
// with a launch token, and there is none, or it does not hold. null for other problems.
export function closed(problem, hasToken) {
  const type = problem?.type ?? '';
  if (type.endsWith('/launch-expired')) {
    return { head: 'This link has expired', text: 'It was good for a few minutes only. Go back to the page that it came from, and open the app from there again.', technical: problem.detail ?? '' };
  }
  if (!type.endsWith('/launch-token')) return null;
  if (!hasToken) {
    return { head: 'You need a link for this app', text: 'This app is not open to everybody. Open it from the page or with the link of those who offer it to you: the link brings a launch token, and that is missing here.', technical: '' };
  }
  return { head: 'This link does not open the app', text: 'Its launch token was not accepted. Go back to the page that it came from, and tell those who run that page what is said here.', technical: problem.detail ?? '' };
}

// known lists what this module describes, for the test that compares it with wire.
export const known = { reasons: Object.keys(ENDS), codes: Object.keys(CODES), phases: STATIONS.map((s) => s.phase), sources: Object.keys(SOURCES) };

// clipboardTrouble says why a clipboard did not get what it should, and what to do.
export function clipboardTrouble(why) {
  switch (why) {
    case 'large': return ['What you copied is too large', 'The app gets at most 8 MB of each kind.'];
    case 'write-later': return ['You copied something in the app', 'Press a key or click here, then you can paste it elsewhere.'];
    case 'write-denied': return ['Your browser keeps your clipboard from this page', 'To paste elsewhere what you copy in the app: allow the clipboard in the site settings, left of the address, and copy again.'];
    case 'read-denied': return ['Your browser did not give your clipboard', 'Press the keys that paste instead, such as Ctrl+V, or allow the clipboard in the site settings, left of the address.'];
    default: return ['Your clipboard needs a secure address', 'Browsers give it only to pages whose address begins with https.'];
  }
}
