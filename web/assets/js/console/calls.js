// calls.js: what the console asks of its service, as promises. A failure is a ProblemError, as in
// ../api.js. Who has to log in is sent there.

import { ProblemError, problemOf, unreachable } from '../api.js';

const API = '/console/api';
const LOGIN = '/console/login';
const HASH = 'nearcast.console.hash'; // where the person was before they had to log in
const TIMEOUT_MS = 30_000; // a job is registered meanwhile

export const EVENTS = `${API}/events`;

const part = encodeURIComponent;
let csrf = '';

export async function me() {
  const answer = await call('GET', '/me');
  csrf = answer.csrf;
  return answer;
}

export const session = (id) => call('GET', `/sessions/${part(id)}`);
export const end = (id) => call('DELETE', `/sessions/${part(id)}`);
export const still = (id) => call('POST', `/sessions/${part(id)}/still`);
export const orderNode = (site, id, order) => call('POST', `/nodes/${part(site)}/${part(id)}`, order);
export const app = (site, id) => call('GET', `/apps/${part(site)}/${part(id)}`);
export const scale = (site, id, body) => call('POST', `/apps/${part(site)}/${part(id)}/scale`, body);
export const revert = (site, id, body) => call('POST', `/apps/${part(site)}/${part(id)}/revert`, body);
export const publish = (site, body) => call('POST', `/apps/${part(site)}`, body);
export const audit = () => call('GET', '/audit');
export const logout = () => call('POST', '/logout', undefined, '/console');

// login goes to the page where a person logs in, and comes back to where they were.
export function login() {
  try {
    sessionStorage.setItem(HASH, location.hash);
  } catch { /* then they come back to the first page */ }
  location.assign(`${LOGIN}?next=${part(location.pathname)}`);
}

// whereBefore gives the hash of before the login, once.
export function whereBefore() {
  try {
    const hash = sessionStorage.getItem(HASH);
    sessionStorage.removeItem(HASH);
    return hash ?? '';
  } catch {
    return '';
  }
}

async function call(method, path, body, base = API) {
  const headers = { Accept: 'application/json' };
  if (method !== 'GET') headers['Nearcast-Csrf'] = csrf;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response;
  try {
    response = await fetch(base + path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (response.status === 204) return null;
    if (response.ok) return await response.json();
  } catch {
    throw new ProblemError(unreachable());
  }
  const problem = await problemOf(response);
  if (response.status === 401) login();
  throw new ProblemError(problem);
}
