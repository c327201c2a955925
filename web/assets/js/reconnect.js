// reconnect.js: when a page tries again. When a brain ends, all of its pages lose it
// in the same moment. If all came back in the same moment too, they would end the
// next one. So each waits for ms and a random part of spread, in milliseconds.

// again is the wait after a number of failures in a row. While the picture flows
// (calm), nobody waits for the socket, and the pages take 4.5 s to come back;
// else one second. Four attempts fit into ten seconds.
export function again(failures, calm) {
  if (failures <= 1) return { ms: 100, spread: calm ? 4400 : 900 };
  const base = Math.min(5_000, 500 * 2 ** (failures - 2));
  return { ms: base / 2, spread: base };
}

// inLine is the same for a person who waits in the queue. Those in front come back first:
// a seat that becomes free meanwhile is theirs.
export function inLine(failures, position = 0) {
  if (failures > 1) return again(failures, false);
  return { ms: 100 + Math.min(2500, Math.round(position / 2)), spread: 900 };
}

// relaunch is the wait before the router is asked again, for the nth time.
export function relaunch(n) {
  const ms = 250 * 2 ** (n - 1);
  return { ms, spread: 2 * ms };
}

// pick is one wait. random is from 0 to 1.
export const pick = ({ ms, spread = 0 }, random = Math.random()) => ms + spread * random;
