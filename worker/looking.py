"""What is in a picture, from its pixels to the files of the result: no queue, no storage."""

from dataclasses import dataclass
from datetime import UTC, datetime

from shared.jobs import InputFile, JobId, JobOptions
from shared.results import ImageResult, ModelUsed, Source, Task
from worker.clock import PhaseClock
from worker.findings import File, Findings, draw, explain, findings_of
from worker.images import DecodedImage
from worker.models.base import Model


@dataclass(frozen=True, slots=True)
class Look:
    """What a model saw in a picture.

    Args:
        source: the picture.
        model: what looked.
        task: of the model.
        options: those of the job that count for the task.
        findings: what was found.
        files: what shows it.
        notes: what a person should know of the picture.
    """

    source: Source
    model: ModelUsed
    task: Task
    options: dict[str, float | int | str | bool]
    findings: Findings
    files: list[File]
    notes: tuple[str, ...]

    def result(self, job_id: JobId, created_at: datetime, clock: PhaseClock) -> ImageResult:
        """The document for it, finished now."""
        return ImageResult(
            id=job_id,
            created_at=created_at,
            started_at=clock.started_at,
            finished_at=datetime.now(UTC),
            source=self.source,
            model=self.model,
            options=self.options,
            task=self.task,
            detections=self.findings.detections,
            mask_percent=self.findings.mask_percent,
            classes=self.findings.classes,
            explained=self.findings.explained,
            counts=self.findings.counts,
            object_string=self.findings.object_string,
            text=self.findings.text,
            notes=list(self.notes),
            artifacts=[file.artifact for file in self.files],
            timings_ms=clock.timings(created_at),
        )


def look(image: DecodedImage, file: InputFile, model: Model, options: JobOptions, clock: PhaseClock) -> Look:
    """Have a model look at a picture: preprocess, inference, postprocess, draw.

    Args:
        image: the picture.
        file: where it came from.
        model: loaded.
        options: of the job.
        clock: times the phases.

    Raises:
        BadInputError: "invalid_option": an option that only the model can judge is wrong.
    """
    height, width = image.pixels.shape[:2]
    with clock.phase("preprocess"):
        prepared = model.preprocess(image.pixels)
    with clock.phase("inference"):
        outputs = model.infer(prepared)
    with clock.phase("postprocess"):
        prediction = model.understand(outputs, prepared, options)
        explanation = explain(model, outputs, prepared, prediction, options)
        findings = findings_of(prediction, (height, width), options.top, explanation)
    with clock.phase("draw"):
        files = draw(image.pixels, findings, prediction, explanation, file.filename)
    source = Source(
        filename=file.filename,
        content_type=file.content_type,
        bytes=file.bytes,
        sha256=file.sha256,
        width=width,
        height=height,
        format=image.format,
        frames=image.frames,
    )
    task = model.entry.task
    return Look(source, model.info(), task, options.of_task(task), findings, files, image.notes)
