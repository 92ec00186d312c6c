"""A Django site whose sessions are in signed cookies, with routes under /_test/ that read and write the session as typed JSON.

Settings come from the environment: SECRET_KEY (required), SECRET_KEY_FALLBACKS (comma separated, newest first), PORT.
Users are in a database in memory. It is for tests only: anyone who can reach it can write any session.
"""

import json
import os
from datetime import datetime
from wsgiref.simple_server import WSGIRequestHandler, make_server

from django.conf import settings

from typed import from_typed, to_typed

settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    SECRET_KEY_FALLBACKS=[secret for secret in os.environ.get("SECRET_KEY_FALLBACKS", "").split(",") if secret],
    DEBUG=False,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "django.contrib.messages"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    MESSAGE_STORAGE="django.contrib.messages.storage.session.SessionStorage",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)

import django

django.setup()

from django.contrib import messages
from django.contrib.auth import get_user_model, login
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path

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


urlpatterns = [
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


make_server("127.0.0.1", int(os.environ["PORT"]), get_wsgi_application(), handler_class=Quiet).serve_forever()
