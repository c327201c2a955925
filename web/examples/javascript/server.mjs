// A customer's server: a page with a player, launch tokens for the people who may play, and what
// happens to their sessions, by webhook (nearcast webhook add URL/hooks --customer NAME).
// It needs Node.js alone.
//
//   NEARCAST_URL=https://play.example.com NEARCAST_APP=cad-viewer NEARCAST_KEY=shop.launch-key.pem \
//     NEARCAST_KEY_ID=3f1c9a7d20b4e865 NEARCAST_WEBHOOK_SECRET=whsec_… PORT=8000 node server.mjs ../page.html

import { createHmac, createPrivateKey, sign, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const { NEARCAST_URL: play, NEARCAST_APP: app, NEARCAST_KEY: file, NEARCAST_KEY_ID: kid, NEARCAST_WEBHOOK_SECRET: secret = '', PORT: port } = process.env;
const key = createPrivateKey(readFileSync(file));
const page = readFileSync(process.argv[2], 'utf8').replaceAll('{{play}}', play).replaceAll('{{app}}', app);

// launchToken is good for ten minutes: for this app, and for pages of this origin.
function launchToken(subject, origin) {
  const now = Math.floor(Date.now() / 1000);
  const head = { alg: 'EdDSA', kid };
  const meta = { order: '4711' }; // stands in events
  const claims = { aud: 'nearcast-launch', iat: now, exp: now + 600, apps: [app], sub: subject, origins: [origin], meta };
  const encode = (data) => Buffer.from(data).toString('base64url');
  const text = [head, claims].map((part) => encode(JSON.stringify(part))).join('.');
  return `${text}.${encode(sign(null, Buffer.from(text), key))}`;
}

const events = new Map(); // what this server was told, by id. Yours keeps them in its database.

// signed says whether a message is signed with the webhook's secret, and not older than five minutes.
function signed(headers, body) {
  const { 'webhook-id': id, 'webhook-timestamp': sent, 'webhook-signature': signatures = '' } = headers;
  const hmacKey = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  if (!hmacKey.length || !(Math.abs(Date.now() / 1000 - Number(sent)) <= 300)) return false;
  const want = Buffer.from(`v1,${createHmac('sha256', hmacKey).update(`${id}.${sent}.`).update(body).digest('base64')}`);
  return signatures.split(' ').map((one) => Buffer.from(one)).some((one) => one.length === want.length && timingSafeEqual(one, want));
}

createServer(async (request, answer) => {
  const { method, url, headers } = request;
  const send = (status, kind, text) => answer.writeHead(status, { 'Content-Type': kind, 'Cache-Control': 'no-store' }).end(text);
  const origin = `http://${headers.host}`;
  if (method === 'GET' && url === '/') return send(200, 'text/html; charset=utf-8', page);
  // Not for everybody: your server asks here who they are.
  if (method === 'GET' && url === '/events') return send(200, 'application/json', JSON.stringify([...events.values()]));
  if (method === 'POST' && url === '/hooks') {
    const parts = [];
    let size = 0;
    try {
      for await (const part of request) {
        if ((size += part.length) > 65536) return send(413, 'text/plain', 'too large');
        parts.push(part);
      }
    } catch {
      return; // the sender went away
    }
    const body = Buffer.concat(parts);
    if (!signed(headers, body)) return send(401, 'text/plain', 'the signature is wrong');
    if (!events.has(headers['webhook-id'])) events.set(headers['webhook-id'], JSON.parse(body)); // it may come twice, with one id
    return send(200, 'text/plain', '');
  }
  if (method !== 'POST' || url !== '/launch-token') return send(404, 'text/plain', 'not found');
  // Here your server knows who asks, and whether they may play. Only your own page may ask.
  if (headers.origin !== origin) return send(403, 'text/plain', 'this is for our own page');
  return send(200, 'text/plain', launchToken('ada', origin));
}).listen(Number(port), '127.0.0.1');
