"""`GET /models`: what can be asked for."""

from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify

from shared.entries import ModelEntry
from shared.jobs import OPTIONS_OF_TASK, JobOptions
from shared.labels import read_labels
from shared.media import ENDINGS
from web.choosing import MOST_MODELS
from web.services import Services, services

bp = APIBlueprint("models", __name__, tag="Models")


@bp.get("/models")
@bp.doc(summary="Models, options and limits", description="`installed` says whether a live worker has the model.")
def list_models() -> Response:
    """The catalogue, with what the live workers have of it."""
    parts = services()
    catalog = parts.catalog
    workers = [worker for worker in parts.fleet.workers() if worker.ready]
    installed = {name for worker in workers for name in worker.installed} | (catalog.trained if workers else set())
    properties = JobOptions.model_json_schema()["properties"]
    return jsonify(
        {
            "default": catalog.default,
            "in_use": catalog.in_use(installed if workers else None),
            "workers": len(workers),
            "models": [
                _model(parts, entry, default=entry.name == catalog.default, installed=entry.name in installed)
                for entry in catalog.models.values()
            ],
            "options": {
                name: {
                    key: schema[key]
                    for key in ("type", "default", "minimum", "maximum", "maxLength", "description")
                    if key in schema
                }
                for name, schema in properties.items()
            },
            "limits": {
                "max_upload_mb": parts.settings.max_upload_mb,
                "max_files": parts.settings.max_files,
                "max_models": MOST_MODELS,
                "max_video_mb": parts.settings.max_video_mb,
                "max_video_seconds": parts.settings.max_video_seconds,
                "types": list(ENDINGS),
                "webhooks": parts.settings.allow_webhooks,
            },
        }
    )


def _model(parts: Services, entry: ModelEntry, *, default: bool, installed: bool) -> dict[str, Any]:
    classes = _classes(parts, entry)
    return {
        "name": entry.name,
        "title": entry.title,
        "description": entry.description,
        "family": entry.family,
        "task": entry.task,
        "options": list(OPTIONS_OF_TASK[entry.task]),
        "licence": entry.licence,
        "source": entry.source,
        "default": default,
        "installed": installed,
        "install": None if installed else f"make weights MODEL={entry.name}",
        "classes": classes,
    }


def _classes(parts: Services, entry: ModelEntry) -> list[str]:
    if entry.name in parts.catalog.trained:
        model = parts.trained.read().get(entry.name)
        return list(model.labels) if model is not None else []
    try:
        return list(read_labels(parts.settings.weights_dir / entry.classes.name))
    except (OSError, ValueError):
        return []
