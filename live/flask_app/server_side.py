"""The questions with Flask-Session on Redis, and with Flask-Login.

Settings come from the environment: those of app.py, REDIS_PORT (required), FORMAT
(msgpack or json), KEY_PREFIX, COOKIE_NAME, and LIFETIME in seconds; USE_SIGNER=1,
PERMANENT=0, and PROTECTION (basic or strong) for Flask-Login.
"""

import os
from datetime import timedelta

from flask import request, session
from flask_login import LoginManager, UserMixin, current_user, login_fresh, login_user, logout_user
from flask_session import Session
from redis import Redis

from app import app

setting = os.environ.get
app.config.update(
    SESSION_TYPE="redis",
    SESSION_REDIS=Redis(port=int(os.environ["REDIS_PORT"])),
    SESSION_SERIALIZATION_FORMAT=setting("FORMAT", "msgpack"),
    SESSION_KEY_PREFIX=setting("KEY_PREFIX", "session:"),
    SESSION_USE_SIGNER=setting("USE_SIGNER") == "1",
    SESSION_PERMANENT=setting("PERMANENT", "1") == "1",
    SESSION_COOKIE_NAME=setting("COOKIE_NAME", "session"),
    PERMANENT_SESSION_LIFETIME=timedelta(seconds=int(setting("LIFETIME", "2678400"))),
)
Session(app)

logins = LoginManager(app)
logins.session_protection = setting("PROTECTION", "basic")


class User(UserMixin):
    def __init__(self, id):
        self.id = id


@logins.user_loader
def load_user(id):
    return User(id)


@app.post("/_test/login")
def test_login():
    # As its documentation has it: another id before somebody is logged in.
    app.session_interface.regenerate(session)
    login_user(User(request.get_data(as_text=True)))
    return "", 204


@app.get("/_test/whoami")
def test_whoami():
    return current_user.get_id() or "nobody"


@app.get("/_test/fresh")
def test_fresh():
    return "fresh" if login_fresh() else "not fresh"


@app.post("/_test/logout")
def test_logout():
    logout_user()
    return "", 204


@app.post("/_test/regenerate")
def test_regenerate():
    app.session_interface.regenerate(session)
    return "", 204


@app.post("/_test/remove")
def test_remove():
    session.pop(request.get_data(as_text=True), None)
    return "", 204


@app.after_request
def let_a_browser_ask_the_test_routes(response):
    if request.path.startswith("/_test/"):
        response.headers["Content-Security-Policy"] = "default-src 'none'; connect-src 'self'"
    return response


@app.post("/_test/count")
def test_count():
    session["count"] = session.get("count", 0) + 1
    return "", 204


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]), threaded=True)
