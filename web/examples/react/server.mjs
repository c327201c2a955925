// A customer's server for a React page: the page, what the bundler made of it, and launch tokens for
// the people who may play. It needs Node.js alone.
//
// Our two packages are in no registry: build them in the checkout of Nearcast, and install the files.
//
//   make -C ../../.. npm-packages
//   npm install ../../../bin/nearcast-player-*.tgz ../../../bin/nearcast-react-*.tgz && npm run build
//   NEARCAST_URL=https://play.example.com NEARCAST_APP=cad-viewer NEARCAST_KEY=shop.launch-key.pem \
//     NEARCAST_KEY_ID=3f1c9a7d20b4e865 PORT=8000 npm start

import { createPrivateKey, sign } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';

const { NEARCAST_URL: play, NEARCAST_APP: app, NEARCAST_KEY: file, NEARCAST_KEY_ID: kid, PORT: port, DIST = new URL('dist', import.meta.url).pathname } = process.env;
const key = createPrivateKey(readFileSync(file));
const page = readFileSync(new URL('index.html', import.meta.url), 'utf8').replaceAll('{{play}}', play).replaceAll('{{app}}', app);
const scripts = new Map(readdirSync(DIST).filter((name) => name.endsWith('.js')).map((name) => [`/dist/${name}`, readFileSync(`${DIST}/${name}`)]));

// launchToken is good for ten minutes: for this app, and for pages of this origin.
function launchToken(subject, origin) {
  const now = Math.floor(Date.now() / 1000);
  const head = { alg: 'EdDSA', kid };
  const claims = { aud: 'nearcast-launch', iat: now, exp: now + 600, apps: [app], sub: subject, origins: [origin] };
  const encode = (data) => Buffer.from(data).toString('base64url');
  const text = [head, claims].map((part) => encode(JSON.stringify(part))).join('.');
  return `${text}.${encode(sign(null, Buffer.from(text), key))}`;
}

createServer(({ method, url, headers }, answer) => {
  const send = (status, kind, text) => answer.writeHead(status, { 'Content-Type': kind, 'Cache-Control': 'no-store' }).end(text);
  const origin = `http://${headers.host}`;
  if (method === 'GET' && url === '/') return send(200, 'text/html; charset=utf-8', page);
  if (method === 'GET' && scripts.has(url)) return send(200, 'text/javascript', scripts.get(url));
  if (method !== 'POST' || url !== '/launch-token') return send(404, 'text/plain', 'not found');
  // Here your server knows who asks, and whether they may play. Only your own page may ask.
  if (headers.origin !== origin) return send(403, 'text/plain', 'this is for our own page');
  return send(200, 'text/plain', launchToken('ada', origin));
}).listen(Number(port), '127.0.0.1');
