"""A receiver that verifies with PyPI's `standardwebhooks`.

    python standard_webhooks.py SECRET…

A POST to /N is verified with the Nth secret (from 0) and answered 200 or 401.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhooks = [Webhook(secret) for secret in sys.argv[1:]]


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            webhooks[int(self.path.strip("/"))].verify(body, headers)
            status = 200
        except WebhookVerificationError:
            status = 401
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(json.dumps({"port": server.server_port}), flush=True)
server.serve_forever()
