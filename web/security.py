"""Headers that every answer carries: nothing from elsewhere runs or is shown, and nothing is guessed."""

from apiflask import APIFlask
from flask import Response, request

from web.services import services

_POLICY = {
    "default-src": "'self'",
    "base-uri": "'none'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' blob:",
    "object-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
}
#: for files that came from users: they can run nothing, whatever a browser takes them for
USER_FILE_POLICY = "default-src 'none'; sandbox"
#: a browser that is led to a video itself makes a page for it, which then asks for the video once more
VIDEO_FILE_POLICY = f"{USER_FILE_POLICY}; media-src 'self'"


def register(app: APIFlask) -> None:
    """Add the headers to every answer of the app."""
    app.after_request(_add_headers)


def _add_headers(response: Response) -> Response:
    policy = dict(_POLICY)
    settings = services().settings
    if settings.s3_presigned_links:  # pictures and videos then come from the bucket's own host
        s3 = settings.s3_public_endpoint_url or settings.s3_endpoint_url or "https://*.amazonaws.com"
        policy["img-src"] += f" {s3}"
        policy["media-src"] += f" {s3}"
    headers = response.headers
    headers.setdefault("Content-Security-Policy", "; ".join(f"{key} {value}" for key, value in policy.items()))
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "same-origin"
    if request.is_secure:  # browsers take it from a secure origin only, and complain otherwise
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
    return response
