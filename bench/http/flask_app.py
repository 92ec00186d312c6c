"""The routes of bench/peers in Flask. Under gunicorn: python -m gunicorn flask_app:app"""

import secrets

from flask import Flask, session

# 292 bytes as compact JSON, like peers/src/session.rs.
SESSION = {
    "firstName": "Ada",
    "lastName": "Lovelace",
    "favoriteColor": "moss green",
    "visits": 41,
    "cart": [{"article": 4711, "amount": 2, "note": "gift wrapping"}, {"article": 815, "amount": 1, "note": ""}],
    "next": "/account/orders?page=2",
    "csrf": "4f1c2d5e6f708192a3b4c5d6e7f80912",
    "locale": "en-GB",
    "seen": True,
}

app = Flask(__name__)
app.secret_key = secrets.token_bytes(32)
app.config.update(SESSION_COOKIE_SECURE=True, SESSION_COOKIE_SAMESITE="Lax")


@app.get("/untouched")
def untouched():
    return "Hello"


@app.get("/read")
def read():
    return session.get("firstName", "")


@app.get("/write")
def write():
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.get("/login")
def login():
    session.clear()
    session.update(user="ada", firstName="Ada")
    return "Hello"


@app.get("/seed")
def seed():
    session.update(SESSION)
    return "Hello"
