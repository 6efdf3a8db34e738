"""The pages of trainings: `/train` to start one and to see all, `/train/<id>` to follow one."""

from typing import Final

from apiflask import APIBlueprint, APIFlask
from flask import Response, make_response, render_template

from shared.runs import USUAL_EPOCHS
from web.ids import checked_id
from web.services import services
from web.training_views import find_training, list_trainings
from web.trainings import STARTS, may_train, need_permission, stored_datasets

bp = APIBlueprint("training_pages", __name__, enable_openapi=False)
bp.before_request(need_permission)

#: a classifier's backbone is found by itself
_BEGUN: Final = STARTS["detection"] | STARTS["masks"]


def register(app: APIFlask) -> None:
    """Add the pages, and the link to them for those who may open them."""
    app.register_blueprint(bp)
    app.context_processor(lambda: {"training_on": may_train()})


@bp.get("/train")
def trainings() -> Response:
    """The form, and all trainings."""
    parts = services()
    own = parts.reader.own()
    page = render_template(
        "train.html",
        trainings=list_trainings(parts),
        trainers=len(parts.trainers.workers()),
        datasets=stored_datasets(parts),
        usual_epochs=USUAL_EPOCHS,
        max_dataset_mb=parts.settings.max_dataset_mb,
        starts=[
            own.models[name] for name in own.installed(parts.settings.weights_dir) if own.models[name].family in _BEGUN
        ],
    )
    return _fresh(page)


@bp.get("/train/<training_id>")
def training(training_id: str) -> Response:
    """One training."""
    parts = services()
    view = find_training(parts, checked_id(training_id))
    page = render_template(
        "training.html", training=view.model_dump(mode="json"), trainers=len(parts.trainers.workers())
    )
    return _fresh(page)


def _fresh(page: str) -> Response:
    response = make_response(page)
    response.headers["Cache-Control"] = "no-store"
    return response
