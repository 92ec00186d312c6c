"""The routes of bench/peers in Django, with its database sessions on POSTGRES_URL. Under gunicorn: python -m gunicorn django_app:app

One worker of one thread has one connection, which stays open.
"""

import os
import secrets

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from psycopg.conninfo import conninfo_to_dict

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

address = conninfo_to_dict(os.environ["POSTGRES_URL"])
settings.configure(
    ALLOWED_HOSTS=["localhost"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": address.pop("dbname"),
            "CONN_MAX_AGE": None,
            "OPTIONS": address,
        }
    },
    INSTALLED_APPS=["django.contrib.sessions"],
    # As a new project has them; the second one sets Content-Length.
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_urlsafe(32),
    SESSION_COOKIE_SECURE=True,
    SESSION_ENGINE="django.contrib.sessions.backends.db",
)
django.setup()

# After the set-up: a command asks for the settings.
from django.core.management import call_command  # noqa: E402

call_command("migrate", verbosity=0, interactive=False)


def untouched(request):
    return HttpResponse("Hello")


def read(request):
    return HttpResponse(request.session.get("firstName", ""))


def write(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


def login(request):
    request.session.cycle_key()
    request.session.update({"user": "ada", "firstName": "Ada"})
    return HttpResponse("Hello")


def seed(request):
    request.session.update(SESSION)
    return HttpResponse("Hello")


urlpatterns = [path(view.__name__, view) for view in (untouched, read, write, login, seed)]
app = get_wsgi_application()
