"""A Django site with routes under /_test/ that read and write the session as typed JSON, and its admin.

Settings come from the environment: SECRET_KEY (required), SECRET_KEY_FALLBACKS (comma separated, newest first), PORT; ENGINE (signed_cookies), and for
others DATABASE (a file, postgres:// or mysql://; without it, in memory) and CACHE (redis://), with CACHE_SERIALIZER=json or pickle, KEY_PREFIX and VERSION.
It is for tests only: anyone who can reach it can write any session.
"""

import json
import os
from datetime import datetime, timedelta
from socketserver import ThreadingMixIn
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.conf import settings

from typed import from_typed, to_typed

ENGINE = os.environ.get("ENGINE", "signed_cookies")
PLACE = os.environ.get("DATABASE", ":memory:")


def database():
    address = urlsplit(PLACE)
    if address.scheme not in ("postgres", "mysql"):
        # As Django advises where several write.
        options = {} if PLACE == ":memory:" else {"timeout": 20, "transaction_mode": "IMMEDIATE"}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": PLACE, "OPTIONS": options}
    if address.scheme == "mysql":
        import pymysql

        # Django asks for a version of mysqlclient, which needs a compiler.
        pymysql.version_info = (2, 2, 7, "final", 0)
        pymysql.install_as_MySQLdb()
    return {
        "ENGINE": "django.db.backends." + {"postgres": "postgresql", "mysql": "mysql"}[address.scheme],
        "NAME": address.path[1:],
        "USER": address.username,
        "PASSWORD": address.password or "",
        "HOST": address.hostname,
        "PORT": address.port,
    }


class Json:
    """A serializer for the cache instead of pickle: like Django's own it leaves integers as they are."""

    def dumps(self, value):
        return value if type(value) is int else json.dumps(value, separators=(",", ":")).encode()

    def loads(self, data):
        return json.loads(data)


def caches():
    if "CACHE" not in os.environ:
        return {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    return {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ["CACHE"],
            "KEY_PREFIX": os.environ.get("KEY_PREFIX", ""),
            "VERSION": int(os.environ.get("VERSION", "1")),
            "OPTIONS": {"serializer": Json} if os.environ.get("CACHE_SERIALIZER", "json") == "json" else {},
        }
    }


settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    SECRET_KEY_FALLBACKS=[secret for secret in os.environ.get("SECRET_KEY_FALLBACKS", "").split(",") if secret],
    DEBUG=False,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "django.contrib.messages",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    STATIC_URL="static/",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends." + ENGINE,
    MESSAGE_STORAGE="django.contrib.messages.storage.session.SessionStorage",
    DATABASES={"default": database()},
    CACHES=caches(),
)

import django

django.setup()

from django.contrib import admin, messages
from django.contrib.auth import get_user_model, login, logout
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.utils import timezone

call_command("migrate", verbosity=0)
User = get_user_model()


def done():
    return HttpResponse(status=204)


def body(request):
    return json.loads(request.body)


def get(request):
    return HttpResponse(json.dumps(to_typed(dict(request.session.items()))), content_type="application/json")


def set_all(request):
    request.session.flush()
    return add(request)


def add(request):
    for name, value in from_typed(body(request)).items():
        request.session[name] = value
    return done()


def count(request):
    request.session["count"] = request.session.get("count", 0) + 1
    return add(request)


def log_out(request):
    logout(request)
    return done()


def clear(request):
    request.session.flush()
    return done()


def as_the_database_has(user):
    return JsonResponse({"id": str(user.pk), "password": user.password})


def user(request):
    """Makes the user where there is none, with this password from now on."""
    asked = body(request)
    found, _ = User.objects.get_or_create(username=asked["user"])
    found.set_password(asked["password"])
    found.is_staff = found.is_superuser = True
    found.save()
    return as_the_database_has(found)


def log_in(request):
    found = User.objects.get(username=body(request)["user"])
    login(request, found)
    return as_the_database_has(found)


def whoami(request):
    return HttpResponse(request.user.get_username() or "nobody")


def lifetime(request):
    asked = body(request)
    request.session.set_expiry(datetime.fromisoformat(asked) if isinstance(asked, str) else asked)
    return done()


def leave_message(request):
    messages.success(request, body(request))
    return done()


def take_messages(request):
    return JsonResponse([str(message) for message in messages.get_messages(request)], safe=False)


def rows(request):
    """All rows, also those that have ended, with the seconds until they end."""
    return JsonResponse(
        [
            {
                "id": row.session_key,
                "text": row.session_data,
                "left": (row.expire_date - timezone.now()).total_seconds(),
            }
            for row in Session.objects.order_by("session_key")
        ],
        safe=False,
    )


def change_row(request):
    """Changes columns of a row behind everybody's back: its text, or the seconds until it ends."""
    asked = body(request)
    columns = {"session_data": asked.get("text")} if "text" in asked else {}
    if "left" in asked:
        columns["expire_date"] = timezone.now() + timedelta(seconds=asked["left"])
    Session.objects.filter(session_key=asked["id"]).update(**columns)
    return done()


def clear_sessions(request):
    call_command("clearsessions")
    return done()


urlpatterns = [
    path("admin/", admin.site.urls),
    path("_test/count", count),
    path("_test/logout", log_out),
    path("_test/rows", rows),
    path("_test/row", change_row),
    path("_test/clearsessions", clear_sessions),
    path("_test/get", get),
    path("_test/set", set_all),
    path("_test/add", add),
    path("_test/clear", clear),
    path("_test/user", user),
    path("_test/login", log_in),
    path("_test/whoami", whoami),
    path("_test/lifetime", lifetime),
    path("_test/message", leave_message),
    path("_test/messages", take_messages),
    path("_test/version", lambda request: HttpResponse(django.get_version())),
]


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


class Threads(ThreadingMixIn, WSGIServer):
    """Several requests at once, as any site has them."""

    daemon_threads = True


# A database in memory is one connection's.
server = WSGIServer if PLACE == ":memory:" else Threads
make_server("127.0.0.1", int(os.environ["PORT"]), get_wsgi_application(), server, Quiet).serve_forever()
