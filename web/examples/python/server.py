"""A customer's server: a page with a player, launch tokens for the people who may play, and what
happens to their sessions, by webhook (nearcast webhook add URL/hooks --customer NAME).

NEARCAST_URL=https://play.example.com NEARCAST_APP=cad-viewer NEARCAST_KEY=shop.launch-key.pem \
  NEARCAST_KEY_ID=3f1c9a7d20b4e865 NEARCAST_WEBHOOK_SECRET=whsec_… PORT=8000 python3 server.py ../page.html

It needs the package cryptography.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives.serialization import load_pem_private_key

play, app, port = os.environ["NEARCAST_URL"], os.environ["NEARCAST_APP"], int(os.environ["PORT"])
with open(os.environ["NEARCAST_KEY"], "rb") as file:
    key = load_pem_private_key(file.read(), password=None)
with open(sys.argv[1], encoding="utf-8") as file:
    page = file.read().replace("{{play}}", play).replace("{{app}}", app)


def launch_token(subject, origin):
    """Good for ten minutes: for this app, and for pages of this origin."""
    now = int(time.time())
    head = {"alg": "EdDSA", "kid": os.environ["NEARCAST_KEY_ID"]}
    claims = {"aud": "nearcast-launch", "iat": now, "exp": now + 600, "apps": [app], "sub": subject, "origins": [origin],
              "meta": {"order": "4711"}}  # stands in events
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    text = b".".join(encode(json.dumps(part).encode()) for part in (head, claims))
    return (text + b"." + encode(key.sign(text))).decode()


events = {}  # what this server was told, by id. Yours keeps them in its database.


def signed(headers, body):
    """Whether a message is signed with the webhook's secret, and not older than five minutes."""
    name, sent = headers["webhook-id"], headers["webhook-timestamp"] or ""
    key = base64.b64decode(os.environ.get("NEARCAST_WEBHOOK_SECRET", "").removeprefix("whsec_"))
    if not key or not sent.isdecimal() or abs(time.time() - int(sent)) > 300:
        return False
    sum = hmac.new(key, f"{name}.{sent}.".encode() + body, hashlib.sha256).digest()
    want = b"v1," + base64.b64encode(sum)
    return any(hmac.compare_digest(one.encode(), want) for one in (headers["webhook-signature"] or "").split())


class Server(BaseHTTPRequestHandler):
    def answer(self, status, kind, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/":
            self.answer(200, "text/html; charset=utf-8", page)
        elif self.path == "/events":  # not for everybody: your server asks here who they are
            self.answer(200, "application/json", json.dumps(list(events.values())))
        else:
            self.answer(404, "text/plain", "not found")

    def do_POST(self):
        if self.path == "/hooks":
            body = self.rfile.read(max(0, min(int(self.headers["Content-Length"] or 0), 64 << 10)))
            if not signed(self.headers, body):
                return self.answer(401, "text/plain", "the signature is wrong")
            events.setdefault(self.headers["webhook-id"], json.loads(body))  # it may come twice, with one id
            return self.answer(200, "text/plain", "")
        # Here your server knows who asks, and whether they may play. Only your own page may ask.
        origin = "http://" + self.headers["Host"]
        if self.path != "/launch-token":
            self.answer(404, "text/plain", "not found")
        elif self.headers["Origin"] != origin:
            self.answer(403, "text/plain", "this is for our own page")
        else:
            self.answer(200, "text/plain", launch_token("ada", origin))


ThreadingHTTPServer(("127.0.0.1", port), Server).serve_forever()
