"""The questions example in Flask: the same pages, from the same templates.

Settings come from the environment: SECRET_KEY (required), SECRET_KEY_FALLBACKS
(comma separated, newest first), HOST, PORT, TEMPLATES_DIR, STATIC_DIR.
TEST_ROUTES=1 adds the routes under /_test/, which read and write the session as
typed JSON. They are for tests only: anyone who can reach them can write any session.
"""

import json
import os
import struct
import sys
from datetime import datetime
from pathlib import Path
from uuid import UUID

from flask import Flask, Response, abort, flash, get_flashed_messages, redirect, render_template, request, session, url_for
from markupsafe import Markup

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "questions"
LONGEST = 100  # characters; the session is a cookie, and a cookie is small

app = Flask(
    __name__,
    template_folder=os.path.abspath(os.environ.get("TEMPLATES_DIR", EXAMPLE / "templates")),
    static_folder=os.path.abspath(os.environ.get("STATIC_DIR", EXAMPLE / "static")),
    static_url_path="/static",
)
app.secret_key = os.environ.get("SECRET_KEY")
app.config["SECRET_KEY_FALLBACKS"] = [
    secret.strip() for secret in os.environ.get("SECRET_KEY_FALLBACKS", "").split(",") if secret.strip()
]


@app.get("/")
def renderMain():
    return render_template("home.html")


@app.get("/page1")
def renderPage1():
    return render_template("page1.html")


@app.route("/page2", methods=["GET", "POST"])
def renderPage2():
    if request.method == "GET":
        return render_template("page2.html")
    forget_unshown()
    kept = [keep("firstName", "first name"), keep("lastName", "last name")]
    return see_other("renderPage2" if all(kept) else "renderPage1")


@app.route("/page3", methods=["GET", "POST"])
def renderPage3():
    if request.method == "GET":
        return render_template("page3.html")
    forget_unshown()
    if not keep("favoriteColor", "favourite colour"):
        return see_other("renderPage2")
    if "firstName" in session and "lastName" in session:
        flash(f"Thank you, {session['firstName']}: all three answers are remembered.", "success")
    else:
        flash("Thank you: your favourite colour is remembered.", "success")
    return see_other("renderPage3")


@app.route("/startOver", methods=["GET", "POST"])
def startOver():
    if request.method == "GET" and session and not is_followed_here():
        return render_template("startOver.html")
    session.clear()
    return see_other("renderMain")


@app.errorhandler(404)
def not_found(_):
    return render_template("404.html"), 404


@app.errorhandler(500)
def broken(_):
    return render_template("error.html", status=500), 500


@app.after_request
def harden(response):
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response


def forget_unshown():
    """Messages that no page has shown give way to those of this form."""
    session.pop("_flashes", None)


def keep(field, spoken):
    """Keeps one answer in the session. Where it will not do, says why, keeps nothing, and returns False."""
    answer = request.form.get(field, "").strip()
    if not answer:
        flash(f"Please fill in your {spoken}.", "error")
        return False
    if len(answer) > LONGEST:
        flash(f"Please use at most {LONGEST} characters for your {spoken}.", "error")
        return False
    session[field] = answer
    return True


def is_followed_here():
    """Whether somebody follows a link of this very site, and the browser says so."""
    says = request.headers.get
    return (
        says("Sec-Fetch-Site") == "same-origin"
        and says("Sec-Fetch-Dest") == "document"
        and "Sec-Purpose" not in request.headers
    )


def see_other(endpoint):
    return redirect(url_for(endpoint), code=303)


# For tests only, from here on.


def from_typed(value):
    """Typed JSON to Python. Plain JSON is itself; everything else is {"$t": type, "v": value}."""
    if isinstance(value, list):
        return [from_typed(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$t" not in value:
        return {name: from_typed(item) for name, item in value.items()}
    kind, v = value["$t"], value.get("v")
    match kind:
        case "int":
            return int(v)
        case "float":
            return struct.unpack(">d", bytes.fromhex(value["bits"]))[0]
        case "bytes":
            return bytes.fromhex(v)
        case "tuple":
            return tuple(from_typed(item) for item in v)
        case "map":
            return {from_typed(key): from_typed(item) for key, item in v}
        case "markup":
            return Markup(from_typed(v))
        case "uuid":
            return UUID(v)
        case "datetime":
            return datetime.fromisoformat(v)
        case "utf16":
            return bytes.fromhex(v).decode("utf-16-be", "surrogatepass")
    raise ValueError(f"unknown type {kind!r}")


def to_typed(value):
    """Python to typed JSON; the inverse of from_typed."""
    match value:
        case None | bool():
            return value
        case int():
            return value if abs(value) < 2**53 else {"$t": "int", "v": str(value)}
        case float():
            return {"$t": "float", "v": repr(value), "bits": struct.pack(">d", value).hex()}
        case Markup():
            return {"$t": "markup", "v": to_typed(str(value))}
        case str():
            if has_lone_surrogate(value):
                return {"$t": "utf16", "v": value.encode("utf-16-be", "surrogatepass").hex()}
            return value
        case bytes():
            return {"$t": "bytes", "v": value.hex()}
        case UUID():
            return {"$t": "uuid", "v": str(value)}
        case datetime():
            return {"$t": "datetime", "v": value.isoformat()}
        case tuple():
            return {"$t": "tuple", "v": [to_typed(item) for item in value]}
        case list():
            return [to_typed(item) for item in value]
        case dict() if all(
            isinstance(key, str) and not key.startswith("$") and not has_lone_surrogate(key) for key in value
        ):
            return {key: to_typed(item) for key, item in value.items()}
        case dict():
            return {"$t": "map", "v": [[to_typed(key), to_typed(item)] for key, item in value.items()]}
    raise TypeError(f"no typed JSON for {type(value).__name__}")


def has_lone_surrogate(text):
    return any("\ud800" <= character <= "\udfff" for character in text)


def whole_numbers_only(text):
    raise ValueError(f"a bare number is an integer, and {text} is not")


def typed_body():
    """The request's body, which must be a typed object; anything else is a 400 that says why."""
    try:
        body = json.loads(request.get_data(), parse_float=whole_numbers_only, parse_constant=whole_numbers_only)
        value = from_typed(body)
    except (ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
        abort(Response(f"{error}\n", 400, mimetype="text/plain"))
    if not isinstance(value, dict):
        abort(Response("the body must be an object\n", 400, mimetype="text/plain"))
    return value


def add_test_routes():
    @app.post("/_test/set")
    def test_set():
        entries = typed_body()
        session.clear()
        session.update(entries)
        return "", 204

    @app.post("/_test/add")
    def test_add():
        session.update(typed_body())
        return "", 204

    @app.get("/_test/get")
    def test_get():
        # ASCII, in the session's own order, floats with their bits.
        return Response(json.dumps(to_typed(dict(session))) + "\n", mimetype="application/json")

    @app.post("/_test/flash")
    def test_flash():
        body = typed_body()
        flash(body.get("message", ""), body.get("category", "message"))
        return "", 204

    @app.get("/_test/flashes")
    def test_flashes():
        # As a page shows them: pairs of category and message.
        shown = get_flashed_messages(with_categories=True)
        text = json.dumps(to_typed([list(pair) for pair in shown]), ensure_ascii=False, separators=(",", ":"))
        return Response(text, mimetype="application/json")

    @app.post("/_test/permanent")
    def test_permanent():
        session.permanent = request.args.get("on", "1") == "1"
        return "", 204

    @app.post("/_test/clear")
    def test_clear():
        session.clear()
        return "", 204


if os.environ.get("TEST_ROUTES") == "1":
    add_test_routes()


if __name__ == "__main__":
    if not app.secret_key:
        sys.exit("SECRET_KEY is not set. For example:\n  export SECRET_KEY=$(python3 -c 'import secrets; print(secrets.token_hex(32))')")
    app.run(host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "5000")), threaded=True)
