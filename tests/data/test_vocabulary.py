import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.data.vocabulary import Vocabulary

names = st.lists(st.text("0123456789+-= ", min_size=1, max_size=3), unique=True, max_size=20)


@given(names)
def test_names_and_indices_are_inverse(given_names):
    vocabulary = Vocabulary(given_names)
    assert len(vocabulary) == len(given_names)
    assert list(vocabulary) == given_names
    assert vocabulary.encode(given_names) == list(range(len(given_names)))
    assert [vocabulary[token] for token in range(len(vocabulary))] == given_names


@given(names, names)
def test_common_names_are_every_match_in_own_order(own, other):
    expected = [(i, j) for i, name in enumerate(own) for j, same in enumerate(other) if name == same]
    assert Vocabulary(own).common(Vocabulary(other)) == expected


@given(names, names)
def test_equality_is_that_of_the_names(own, other):
    assert (Vocabulary(own) == Vocabulary(tuple(other))) == (own == other)
    assert hash(Vocabulary(own)) == hash(Vocabulary(iter(own)))


def test_copies_are_whole():
    vocabulary = Vocabulary(["0", "1", "+"])
    for twin in (copy.deepcopy(vocabulary), pickle.loads(pickle.dumps(vocabulary))):
        assert twin == vocabulary
        assert twin.index("+") == 2


def test_membership_is_by_name():
    vocabulary = Vocabulary(["0", "+"])
    assert "+" in vocabulary
    assert "−" not in vocabulary
    assert 0 not in vocabulary


def test_an_unknown_name_has_its_nearest():
    vocabulary = Vocabulary(["x²+y²", "x³+y³", "="])
    with pytest.raises(ValueError, match=r"no token is named 'x²\+y' among 3 tokens: did you mean 'x²\+y²'\?"):
        vocabulary.index("x²+y")
    with pytest.raises(ValueError, match=r"no token is named '&' among 3 tokens$"):
        vocabulary.encode(["=", "&"])


@pytest.mark.parametrize("token", [-1, 2])
def test_a_token_outside_is_refused(token):
    with pytest.raises(IndexError, match=f"token {token} is outside a vocabulary of 2 tokens"):
        Vocabulary(["0", "1"])[token]


def test_repeated_names_and_a_bare_string_are_refused():
    with pytest.raises(ValueError, match="holds '-' more than once"):
        Vocabulary(["0", "-", "1", "-"])
    with pytest.raises(ValueError, match="'01' is a single string"):
        Vocabulary("01")


def test_a_vocabulary_cannot_be_changed():
    with pytest.raises(AttributeError):
        Vocabulary(["0"]).names = ("1",)
