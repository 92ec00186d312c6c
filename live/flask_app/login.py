"""Flask with Flask-Login: logs in, says who is there, and logs out.

Settings come from the environment: SECRET_KEY (required), PORT, and Flask-Login's
REMEMBER_COOKIE_NAME, REMEMBER_COOKIE_DOMAIN and REMEMBER_COOKIE_PATH.
"""

import os

from flask import Flask, request
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]
for name in ("REMEMBER_COOKIE_NAME", "REMEMBER_COOKIE_DOMAIN", "REMEMBER_COOKIE_PATH"):
    if name in os.environ:
        app.config[name] = os.environ[name]


class User(UserMixin):
    def __init__(self, id):
        self.id = id


@LoginManager(app).user_loader
def load_user(id):
    return User(id)


@app.post("/login")
def login():
    login_user(User(request.args["user"]), remember="remember" in request.args)
    return "", 204


@app.get("/whoami")
def whoami():
    return current_user.get_id() or "nobody"


@app.post("/logout")
def logout():
    logout_user()
    return "", 204


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]), threaded=True)
