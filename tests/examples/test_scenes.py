"""The generated scenes: what is asked is so, and the recipes run."""

import numpy as np
import pytest

from examples.scenes import scenes, segmentation, vqa


@pytest.fixture(scope="module")
def made():
    return scenes.draw(300, seed=0)


def test_the_same_seed_draws_the_same(made):
    again, other = scenes.draw(300, seed=0), scenes.draw(300, seed=1)
    np.testing.assert_array_equal(again.pictures, made.pictures)
    assert (other.pictures != made.pictures).any()
    assert scenes.asked(made, 3) == scenes.asked(again, 3)


def test_things_are_whole_and_apart(made):
    assert (made.masks.sum(1) <= 1).all()
    assert (made.masks.sum((2, 3)) >= 10).all()
    edge = made.masks.copy()
    edge[:, :, 1:-1, 1:-1] = False
    assert edge.mean() < 0.01


def test_things_have_their_colour(made):
    for row in range(20):
        for (colour, _), mask in zip(made.names(row), made.masks[row], strict=True):
            painted = made.pictures[row][mask].mean(0)
            paint = np.array(scenes.COLOURS[colour])
            cosine = painted @ paint / np.linalg.norm(painted) / np.linalg.norm(paint)
            assert cosine > 0.99


def answer(question, things, at):
    """Read from the words alone, in another way than the generator's."""
    words = question.rstrip("?").split()
    if question.startswith("what colour"):
        (found,) = [c for c, s in things if s == words[-1]]
    elif question.startswith("is there"):
        found = "yes" if tuple(words[-2:]) in things else "no"
    elif question.startswith("how many"):
        what = words[2] if words[3] == "ones" else words[2][:-1]
        found = str(sum(what in thing for thing in things))
    elif question.startswith("what shape is the"):
        (found,) = [s for c, s in things if c == words[-2]]
    else:
        (other,) = [i for i, (c, _) in enumerate(things) if c == words[-2]]
        x, y = (at - at[other]).T
        side = {"left": -x, "right": x, "above": -y, "below": y}[words[3]]
        (found,) = [things[i][1] for i in range(len(things)) if side[i] >= 3]
    return found


def test_answers_are_right(made):
    questions, answers, kinds = scenes.asked(made, seed=1)
    assert set(kinds) == set(scenes.KINDS)
    for row, (question, given) in enumerate(zip(questions, answers, strict=True)):
        assert given == answer(question, made.names(row), made.centres[row]), question


def test_half_of_what_is_looked_for_is_there(made):
    _, answers, kinds = scenes.asked(made, seed=1)
    told = np.array(answers)[np.array(kinds) == "exists"]
    assert 0.35 < np.mean(told == "yes") < 0.65


def test_sentences_are_true_of_one_thing(made):
    rows, sentences, masks, related = scenes.pointed(made, seed=2)
    assert 0.2 < related.mean() < 0.6
    for row, sentence, mask, placed in zip(
        rows, sentences, masks, related, strict=True
    ):
        things, at = made.names(row), made.centres[row]
        words = sentence.replace(" of", "").split()[1:]
        if placed:
            shape, side, _, *other = words
            (i,) = [i for i, x in enumerate(things) if x == tuple(other)]
            x, y = (at - at[i]).T
            ahead = {"left": -x, "right": x, "above": -y, "below": y}[side] >= 3
            fits = [j for j in range(3) if ahead[j] and things[j][1] == shape]
            assert sum(s == shape for j, (_, s) in enumerate(things) if j != i) > 1
        else:
            fits = [j for j, x in enumerate(things) if x == tuple(words)]
        assert len(fits) == 1, sentence
        np.testing.assert_array_equal(mask[..., 0], made.masks[row, fits[0]])


def test_priors_by_hand():
    known = ["a?", "a?", "a?", "b?"], ["yes", "no", "yes", "red"]
    seen = ["a?", "a?", "b?", "c?"], ["yes", "no", "red", "no"]
    assert scenes.prior_of_questions(known, seen) == 50.0


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [vqa, segmentation])
def test_smoke(recipe, tmp_path):
    from examples import measured

    arguments = ["--smoke", "--out", str(tmp_path)]
    assert not measured.main(
        recipe.measure, recipe.EXPECTED, recipe.__doc__, recipe.__file__, arguments
    )
    assert (tmp_path / f"scenes.{recipe.__name__.split('.')[-1]}.json").exists()
