// api.js: the router's REST interface, as promises.
//
// Every failure is a ProblemError with an RFC 9457 problem, so that a screen
// always has a title and a sentence to show. If the router was not reached,
// status is 0. base is the origin of a router; '' is the page's own.

const TIMEOUT_MS = 10_000;

export class ProblemError extends Error {
  constructor(problem) {
    super(problem.detail || problem.title);
    this.name = 'ProblemError';
    this.problem = problem;
  }
}

export const listApps = (signal) => call('GET', '/v1/apps', { signal });
export const getApp = (id, token, base, signal) => call('GET', `/v1/apps/${encodeURIComponent(id)}`, { bearer: token, base, signal });
export const listSites = (signal, base) => call('GET', '/v1/sites', { signal, base });
export const probes = (request, signal, base) => call('POST', '/v1/probes', { body: request, signal, base });
export const launch = (request, token, signal, base) => call('POST', '/v1/sessions', { body: request, bearer: token, signal, base });
export const renewTicket = (session, ticket, signal, base) =>
  call('POST', `/v1/sessions/${encodeURIComponent(session)}/ticket`, { bearer: ticket, signal, base });

// reach asks whether anything answers at a URL, whatever the answer.
export async function reach(url, signal) {
  await fetch(url, { mode: 'no-cors', cache: 'no-store', signal });
}

async function call(method, path, { body, bearer, signal, base = '' } = {}) {
  const headers = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  let response;
  try {
    response = await fetch(base + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
      signal: signal && AbortSignal.any ? AbortSignal.any([signal, timeout]) : signal ?? timeout,
    });
    if (response.ok) return await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ProblemError(unreachable());
  }
  throw new ProblemError(await problemOf(response));
}

export function unreachable() {
  return {
    type: 'about:blank',
    status: 0,
    own: 'unreachable',
    title: 'The service cannot be reached',
    detail: 'Check your connection. If other sites work, this service is down: try again in a moment.',
  };
}

export async function problemOf(response) {
  try {
    const problem = await response.json();
    if (problem && typeof problem.title === 'string') return { status: response.status, ...problem };
  } catch {
    // Not a problem document: a proxy's error page.
  }
  return {
    type: 'about:blank',
    status: response.status,
    own: 'http',
    title: 'The service answered with an error',
    detail: `The answer was HTTP ${response.status}. Try again in a moment.`,
  };
}
