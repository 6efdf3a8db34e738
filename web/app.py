"""`create_app()`: the Flask application."""

from importlib.metadata import PackageNotFoundError, version

from apiflask import APIFlask
from werkzeug.middleware.proxy_fix import ProxyFix

from shared.jobs import ErrorInfo
from shared.settings import Settings, get_settings
from web import (
    access,
    access_log,
    again,
    describing,
    errors,
    incoming,
    jobs,
    limits,
    models,
    operations,
    origins,
    results,
    retrying,
    security,
    status,
    stream_files,
    streams,
    training_pages,
    trainings,
    uploads,
    videos,
    views,
)
from web.services import EXTENSION, Services
from web.slow import SlowBodies

#: of all form fields together; the parser also holds a piece of a file (64 KiB) to this limit
FORM_FIELDS_BYTES = 512 * 1024
#: the body of every answer that is an error, as a JSON schema
ERROR_SCHEMA = {"type": "object", "required": ["error"], "properties": {"error": ErrorInfo.model_json_schema()}}


def create_app(settings: Settings | None = None) -> APIFlask:
    """Make the application.

    Args:
        settings: other settings than the environment's, for tests.
    """
    settings = settings or get_settings()
    app = APIFlask(__name__, title="Dropsight", version=app_version(), docs_path=None, json_errors=False)
    app.config.update(
        AUTO_404_RESPONSE=False,
        MAX_CONTENT_LENGTH=max(settings.max_files * settings.max_upload_bytes, settings.max_video_bytes)
        + settings.max_files * FORM_FIELDS_BYTES,
        MAX_FORM_MEMORY_SIZE=FORM_FIELDS_BYTES,
        MAX_FORM_PARTS=settings.max_files + 32,
        SPEC_FORMAT="json",
        HTTP_ERROR_SCHEMA=ERROR_SCHEMA,
        VALIDATION_ERROR_SCHEMA=ERROR_SCHEMA,
        DESCRIPTION="Drop photos and videos, see what is in them. Upload to `/upload`, then look at `status_url`.",
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.request_class = incoming.StreamingRequest
    app.extensions[EXTENSION] = Services.open(settings)
    # in this order: which request, whose page, whose key, how often and whether there is room
    access_log.register(app)
    origins.register(app, settings)
    access.register(app, settings)
    describing.register(app)
    limits.register(app, settings, app.extensions[EXTENSION])
    blueprints = (
        uploads.bp,
        again.bp,
        retrying.bp,
        jobs.bp,
        views.bp,
        results.bp,
        videos.bp,
        models.bp,
        trainings.bp,
        operations.bp,
    )
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    status.register(app)
    training_pages.register(app)
    streams.register(app)
    app.register_blueprint(stream_files.bp)
    app.teardown_request(incoming.discard_unclaimed)
    app.context_processor(lambda: {"version": app.version})
    app.wsgi_app = SlowBodies(app.wsgi_app, settings)  # type: ignore[method-assign]
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops, x_prefix=hops
        )
    errors.register(app)
    security.register(app)
    return app


def app_version() -> str:
    """Version of the installed package, or what stands for it in a checkout."""
    try:
        return version("dropsight")
    except PackageNotFoundError:
        return "0.1.0"
