"""What classifiers say of pictures, picture by picture; and the limit on what a file may lose."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slide_deploy.errors import InputError
from slide_deploy.evaluation.classifier import TOP, Classifier, Judgements
from slide_deploy.evaluation.figures import rows_of
from slide_deploy.evaluation.gate import failures, gate_warnings, require_limit
from slide_deploy.evaluation.record import Record
from slide_deploy.evaluation.run import Wanted, evaluate, evaluate_session
from slide_deploy.evaluation.sharding import WHOLE, Shard
from slide_deploy.images.collection import read_collection
from slide_deploy.images.description import DEVIATION, IMAGE_KEY, MEAN, ImageDescription
from tests.evaluation import pictures


def level(colours: np.ndarray) -> np.ndarray:
    """Class 0 for dark pictures, 1 for grey ones, 2 for bright ones."""
    return -np.abs(colours[:, :1] - np.array([[0, 100, 200]]))


def shifted(by: int):
    return lambda colours: level(colours - by)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("levels")
    for index in range(60):
        red = 100 * (index % 3) + index // 3
        pictures.colour(folder / str(index % 3) / f"{index:02}.png", red)
    return folder


def run(data: Path, *files, **wanted) -> Record:
    return evaluate(files, read_collection(data), Wanted(**wanted))


def test_a_right_file_is_right_and_one_is_held_against_it(data: Path) -> None:
    # 40 up: the twelve pictures of dark and grey that are 10 to 19 above their level are wrong.
    record = run(data, pictures.classifier(level), pictures.classifier(shifted(-40), "up.onnx"))
    first, second = rows_of(record)
    assert first.top1 and first.top1.count == first.top1.of == 60
    assert (first.agreement, first.change, first.top5) == (None, None, None)
    wrong = sum(red + 40 > 50 for red in range(20)) * 2
    assert second.top1 and second.top1.count == 60 - wrong == 42
    assert second.agreement and second.agreement.count == 42
    assert second.pairs and (second.pairs.both, second.pairs.second) == (42, wrong)
    assert second.change and second.change.value == pytest.approx(-0.3)


def test_equally_probable_classes_stand_in_their_order() -> None:
    judged = Judgements()
    judged.add(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), [0, 1, 2])
    assert (judged.predicted, judged.ranks) == ([0, 0, 0], [0, 1, 2])


def test_ranks_of_many_classes_end_at_five() -> None:
    judged = Judgements()
    judged.add(np.arange(10.0)[None].repeat(3, axis=0), [9, 5, 4])
    assert judged.ranks == [0, 4, TOP]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_wrong_and_fail_the_limit(
    data: Path, broken: float
) -> None:
    def answer(colours: np.ndarray) -> np.ndarray:
        rows = level(colours).astype(float)
        rows[colours[:, 0] == 0, 0] = broken  # one picture, whose class it would be
        return rows

    record = run(data, pictures.classifier(level), pictures.classifier(answer, "broken.onnx"))
    row = rows_of(record)[1]
    assert row.not_finite == 1 and row.top1 and row.top1.count == 59
    assert row.agreement and row.agreement.count == 59
    assert failures(record, 50) == ("broken.onnx outputs numbers that are not finite for 1 image",)


def test_minus_infinity_is_a_number_like_others(data: Path) -> None:
    def answer(colours: np.ndarray) -> np.ndarray:
        rows = level(colours).astype(float)
        return np.where(rows < -90, -np.inf, rows)

    assert rows_of(run(data, pictures.classifier(answer)))[0].not_finite == 0


def test_the_limit_is_held_against_what_was_found(data: Path) -> None:
    record = run(
        data,
        pictures.classifier(level),
        pictures.classifier(level, "same.onnx"),
        pictures.classifier(shifted(-32), "one.onnx"),
    )
    assert rows_of(record)[2].change.value == pytest.approx(-2 / 60)
    lost = 100 * 2 / 60
    assert failures(record, lost) == ()
    assert failures(record, 3.3) == (
        "one.onnx loses 3.33 points of top-1 against file.onnx, more than 3.3",
    )
    noted = list(gate_warnings(record, lost))
    assert len(noted) == 2 and noted[0].startswith("same.onnx may lose up to ")
    assert failures(record, 0) and len(list(gate_warnings(record, 0))) == 1
    for limit in (-1, float("nan"), 101):
        with pytest.raises(InputError, match="is not a limit"):
            require_limit(limit)


def test_a_fixed_batch_is_filled_and_its_rest_left_out(data: Path) -> None:
    whole = run(data, pictures.classifier(level))
    for batch in (1, 7, 64):
        fixed = run(data, pictures.classifier(level, batch=batch), batch=5)
        assert fixed.batch == max(5, batch)
        assert fixed.files[0].predicted == whole.files[0].predicted


def test_each_picture_is_prepared_once_for_each_kind_of_input(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slide_deploy.images import preprocessing

    read: list[Path] = []
    real = preprocessing.read_picture
    monkeypatch.setattr(preprocessing, "read_picture", lambda path: read.append(path) or real(path))
    run(data, pictures.classifier(level), pictures.classifier(level, "b"), sample=20)
    assert len(read) == 1 + 20, "the first tells how many classes there are"


def test_files_of_other_networks_are_refused(data: Path) -> None:
    four = pictures.classifier(lambda colours: np.zeros((len(colours), 4)), "four.onnx")
    with pytest.raises(InputError, match=r"four.onnx has 4 classes and file.onnx 3"):
        run(data, pictures.classifier(level), four)


def test_pictures_without_classes_tell_agreement_alone(data: Path) -> None:
    flat = data / "1"
    record = run(flat, pictures.classifier(level), pictures.classifier(shifted(-40), "up.onnx"))
    first, second = rows_of(record)
    assert (first.top1, second.top1, second.change) == (None, None, None)
    assert second.agreement and second.agreement.count == 11


def test_a_folder_of_damaged_pictures_is_refused(tmp_path: Path) -> None:
    pictures.damaged(tmp_path / "0" / "a.png")
    with pytest.raises(InputError, match=r"has 1 image and none can be read. The first one: .*a"):
        run(tmp_path, pictures.classifier(level))


def test_an_opened_file_is_evaluated_without_a_word(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in data.rglob("*.png"):
        pictures.colour(tmp_path / path.relative_to(data), 0).write_bytes(path.read_bytes())
    pictures.damaged(tmp_path / "0" / "x.png")
    file = pictures.classifier(shifted(-40)).file
    found = evaluate_session(file, read_collection(tmp_path))
    assert (found.top1.count, found.top1.of, found.not_finite) == (42, 60, 0)
    assert [each.name for each in found.damaged] == ["0/x.png"]
    assert found.top5.count == 60
    assert capsys.readouterr() == ("", "")
    with pytest.raises(InputError, match="has images without classes"):
        evaluate_session(file, read_collection(data / "1"))


def test_a_baseline_that_is_not_finite_fails_the_limit(data: Path) -> None:
    def answer(colours: np.ndarray) -> np.ndarray:
        return np.where(colours[:, :1] < 2, np.nan, level(colours))

    record = run(data, pictures.classifier(answer), pictures.classifier(level, "good.onnx"))
    assert failures(record, 50) == ("file.onnx outputs numbers that are not finite for 2 images",)


def test_a_batch_is_no_larger_than_the_set(data: Path) -> None:
    given: list[int] = []

    def answer(colours: np.ndarray) -> np.ndarray:
        given.append(len(colours))
        return level(colours)

    for shard in (WHOLE, Shard(1, 2), Shard(2, 2)):
        record = run(data, pictures.classifier(answer), batch=10**15, sample=6, shard=shard)
        assert record.batch == 6
    assert set(given) == {6}


def test_names_in_another_order_are_refused(data: Path) -> None:
    def named(name: str, *labels: str) -> Classifier:
        found = pictures.classifier(level, name)
        text = ImageDescription(
            *("image", (4, 4), "nchw", "rgb", "uint8", MEAN, DEVIATION, True), labels=labels
        ).text()
        session = replace(found.file.session, metadata={IMAGE_KEY: text})
        return replace(found, file=replace(found.file, session=session))

    first = named("a.onnx", "0", "1", "2")
    run(data, first, named("b.onnx", "0", "1", "2"), pictures.classifier(level))
    said = "c.onnx calls class 0 1 and a.onnx calls class 1 so: export both"
    with pytest.raises(InputError, match=said):
        run(data, first, named("c.onnx", "1", "0", "2"))
