"""Runs a Flask sample as it stands, but on a free port of loopback, which it prints.

    python flask_on_free_port.py FILE
"""

import json
import sys

import flask
import werkzeug.serving


def run(app, *_args, **_options):
    """Stands in for `Flask.run`, whose port the sample has chosen."""
    server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)
    print(json.dumps({"port": server.port}), flush=True)
    server.serve_forever()


flask.Flask.run = run
path = sys.argv[1]
with open(path, encoding="utf-8") as file:
    sample = compile(file.read(), path, "exec")
exec(sample, {"__name__": "__main__"})
