"""Who may do what: API keys, and the sign-in of the page.

Without keys everybody may do everything. With keys, every path needs one, except those below: whoever knows the id
of a job may see it. A new path is closed until it is named here.
"""

import logging
from datetime import timedelta
from typing import Final, cast

from apiflask import APIBlueprint, APIFlask
from flask import Response, current_app, g, make_response, redirect, render_template, request, url_for

from shared.errors import BadInputError, PublicError
from shared.settings import Settings
from web.keys import LONGEST_KEY, ApiKeys
from web.origins import listed
from web.services import services

log = logging.getLogger(__name__)

bp = APIBlueprint("access", __name__, enable_openapi=False)

OPEN: Final = frozenset(
    {
        "static",
        "openapi.spec",
        "access.sign_in",
        "access.sign_in_page",
        "access.sign_out",
        "jobs.get_job",
        "jobs.job_events",
        "operations.healthz",
        "operations.readyz",
        "results.get_artifact",
        "results.get_mask",
        "videos.frames",
        "videos.live_frame",
        "views.compare",
        "views.docs",
        "views.view",
    }
)
#: where who has no key is led to the sign-in
PAGES: Final = frozenset({"views.index", "status.page", "training_pages.trainings", "training_pages.training"})
#: pages for browsers, and JSON for others
_BOTH: Final = frozenset({"streams.list_all", "streams.get_stream"})
COOKIE: Final = "dropsight_key"
COOKIE_AGE: Final = timedelta(days=30)


def register(app: APIFlask, settings: Settings) -> None:
    """Have the app ask for keys, if there are any; else say who can use it. Raises `web.keys.BadKeysError`."""
    keys = ApiKeys.load(settings)
    app.extensions["dropsight.keys"] = keys
    app.before_request(lambda: _need_key(keys))
    app.context_processor(lambda: {"signed_in": owner() is not None, "may_act": owner() is not None or not keys})
    app.register_blueprint(bp)
    if settings.open_to_all:
        log.warning(
            "NO API KEYS ARE SET, and the service listens on %s: ANYBODY WHO CAN REACH PORT %s CAN USE IT, see all "
            "jobs and delete them. `python -m web.keys NAME` makes a key; docs/security.md says more.",
            settings.host,
            settings.port,
        )


def owner() -> str | None:
    """Name of the key of this request; None without one."""
    return cast(str | None, g.get("owner"))


def keys_are_on() -> bool:
    """Whether the service asks for keys."""
    return bool(_keys())


def is_operator() -> bool:
    """Whether this request may steer everybody's jobs: with a key of ADMIN_KEYS, or where no keys are asked for."""
    return not keys_are_on() or owner() in listed(services().settings.admin_keys)


def need_own_job(job_id: str) -> None:
    """Raises `PublicError("forbidden")` if the job is not of this request's key."""
    if not keys_are_on():
        return
    record = services().queue.get(job_id)
    if record is None:
        raise PublicError("not_found", "There is no such job.")
    if record.request.owner != owner():
        raise PublicError("forbidden", "This job belongs to another key.")


def _keys() -> ApiKeys:
    return cast(ApiKeys, current_app.extensions["dropsight.keys"])


def _need_key(keys: ApiKeys) -> Response | None:
    if not keys:
        return None
    key = _sent_key()
    g.owner = keys.owner_of(key) if key else None
    if g.owner is not None or request.endpoint is None or request.endpoint in OPEN or request.method == "OPTIONS":
        return None
    if request.endpoint in PAGES or (request.endpoint in _BOTH and "text/html" in request.headers.get("Accept", "")):
        return redirect(url_for("access.sign_in_page"), 303)  # type: ignore[return-value]
    raise PublicError("unauthorized", "This needs an API key: `Authorization: Bearer <key>`, or sign in on the page.")


def _sent_key() -> str:
    """The key of the request: a header, else the cookie, which is all that an EventSource or an <img> can send."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return request.headers.get("X-Api-Key", "").strip() or request.cookies.get(COOKIE, "")


@bp.get("/sign-in")
def sign_in_page() -> Response:
    """The form."""
    if not keys_are_on() or owner() is not None:
        return redirect(url_for("views.index"), 303)  # type: ignore[return-value]
    return _form()


@bp.post("/sign-in")
def sign_in() -> Response:
    """Take a key and keep it in a cookie that no script can read and no other site can have sent."""
    if request.mimetype != "application/x-www-form-urlencoded":
        raise BadInputError("bad_request", "The form of the page is wanted.")
    request.max_content_length = 4 * LONGEST_KEY
    key = request.form.get("key", "").strip()
    if _keys().owner_of(key) is None:
        return _form("This key is not known here.")
    response = redirect(url_for("views.index"), 303)
    response.set_cookie(
        COOKIE,
        key,
        max_age=COOKIE_AGE,
        path=request.script_root or "/",
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )
    return response  # type: ignore[return-value]


@bp.post("/sign-out")
def sign_out() -> Response:
    """Forget the key."""
    response = redirect(url_for("access.sign_in_page"), 303)
    response.delete_cookie(
        COOKIE, path=request.script_root or "/", secure=request.is_secure, httponly=True, samesite="Strict"
    )
    return response  # type: ignore[return-value]


def _form(message: str = "") -> Response:
    response = make_response(render_template("sign-in.html", message=message))
    response.status_code = 401
    response.headers["Cache-Control"] = "no-store"
    return response
