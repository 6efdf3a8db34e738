"""Images sorted into folders: one folder a class, perhaps below `train/`, `val/` and `test/`."""

from pathlib import Path

from worker.training.datasets.description import Dataset, Sample, Split, make_sample
from worker.training.datasets.files import IMAGE_SUFFIXES, SPLIT_NAMES, find_files, is_hidden


def looks_like_classes(root: Path) -> bool:
    """Whether two folders or more have images."""
    return len(_class_folders(root)) > 1


def read_classes(root: Path) -> Dataset:
    """Read a data set in this format; its labels are the names of the folders, in alphabetical order."""
    folders = _class_folders(root)
    labels = tuple(sorted({folder.name for folder, _ in folders}))
    samples: list[Sample] = []
    for folder, split in folders:
        class_id = labels.index(folder.name)
        samples += [make_sample(path, None, [], [class_id], split=split) for path in find_files(folder, IMAGE_SUFFIXES)]
    samples.sort(key=lambda sample: sample.path)
    return Dataset(root, "classification", "a folder a class", labels, tuple(samples))


def _class_folders(root: Path) -> list[tuple[Path, Split | None]]:
    found: list[tuple[Path, Split | None]] = []
    top = _folders(root)
    named = [folder for folder in top if folder.name.lower() in SPLIT_NAMES]
    if named and len(named) == len(top):
        for folder in named:
            found += [(inner, SPLIT_NAMES[folder.name.lower()]) for inner in _folders(folder)]
    else:
        found = [(folder, None) for folder in top]
    return [(folder, split) for folder, split in found if find_files(folder, IMAGE_SUFFIXES)]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not is_hidden(path.relative_to(root)))
