"""What the tests of data share."""

import pytest


def equations_of(data, *parts):
    names = list(data.vocabulary)
    return [
        (text, names[answer])
        for part in parts or ("train", "val", "test")
        for text, answer in zip(
            data.sequence_names(data.parts[part].tokens), data.parts[part].answers.tolist(), strict=True
        )
    ]


@pytest.fixture(scope="session")
def equations():
    """The equations of some parts as text, with their answers."""
    return equations_of
