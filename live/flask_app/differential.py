"""Flask's own session interface, behind a pipe: a list of questions a line, a list of answers a line, in JSON.

    {"op": "write", "session": typed}          -> {"cookie": value, "text": JSON before compression}
    {"op": "read", "header": Cookie header}    -> {"session": typed} or {"broken": name of the exception}
    {"op": "respond", "header": Cookie header, "settings": {...}, "clear": bool, "set": typed, "permanent": bool or null}
                                               -> {"set_cookie": [...], "vary": text}

The first line is the settings: {"secret": text, "fallbacks": [...], "now": Unix seconds}. The clock stands still.
Ends with its standard input.
"""

import json
import sys
import zlib
from datetime import datetime, timezone
from types import SimpleNamespace

import flask.sessions
import itsdangerous.timed
from flask import Flask, Response
from itsdangerous.encoding import base64_decode
from werkzeug.sansio.http import parse_cookie

from app import from_typed, to_typed

setup = json.loads(sys.stdin.readline())
NOW = setup["now"]


class StandingClock(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.fromtimestamp(NOW, tz or timezone.utc)


itsdangerous.timed.time = SimpleNamespace(time=lambda: NOW)
flask.sessions.datetime = StandingClock


def application(settings):
    app = Flask(__name__)
    app.secret_key = setup["secret"]
    app.config["SECRET_KEY_FALLBACKS"] = setup["fallbacks"]
    app.config.update(settings)
    return app


app = application({})
app.app_context().push()  # Without it, Flask would not use the application's JSON, whose keys are sorted.
interface = app.session_interface
serializer = interface.get_signing_serializer(app)


def text_of(cookie):
    """The JSON in a cookie."""
    payload = cookie.rsplit(".", 2)[0]
    data = base64_decode(payload.lstrip("."))
    return (zlib.decompress(data) if payload.startswith(".") else data).decode("ascii")


def write(question):
    cookie = serializer.dumps(from_typed(question["session"]))
    return {"cookie": cookie, "text": text_of(cookie)}


def read(question):
    request = SimpleNamespace(cookies=parse_cookie(question["header"]))
    try:
        session = interface.open_session(app, request)
    except Exception as error:  # Flask would answer 500.
        return {"broken": type(error).__name__}
    return {"session": to_typed(dict(session))}


def respond(question):
    app = application(question["settings"])
    interface = app.session_interface
    name = app.config["SESSION_COOKIE_NAME"]
    with app.test_request_context(headers={"Cookie": question["header"]}) as context:
        session = interface.open_session(app, context.request)
        if question["clear"]:
            session.clear()
        if question["set"]:
            session.update(from_typed(question["set"]))
        if question["permanent"] is not None:
            session.permanent = question["permanent"]
        response = Response()
        interface.save_session(app, session, response)
    cookies = [cookie for cookie in response.headers.getlist("Set-Cookie") if cookie.startswith(f"{name}=")]
    return {"set_cookie": cookies, "vary": response.headers.get("Vary", "")}


ANSWERS = {"write": write, "read": read, "respond": respond}

for line in sys.stdin:
    answers = [ANSWERS[question["op"]](question) for question in json.loads(line)]
    print(json.dumps(answers), flush=True)
