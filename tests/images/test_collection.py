"""Collections of images: folders, tables, other files, every kind of image."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slide_deploy.errors import InputError
from slide_deploy.images.collection import Collection, read_collection
from tests.evaluation.pictures import colour


def names(collection: Collection) -> list[str]:
    return [each.name for each in collection.pictures]


def labelled(collection: Collection) -> list[tuple[str, str | None]]:
    return [(each.name, each.label) for each in collection.pictures]


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for name in ("n02/b.JPEG", "n02/a.png", "n01/deep/er/c.jpg"):
        colour(tmp_path / name, 1)
    (tmp_path / "n03").mkdir()
    found = read_collection(tmp_path)
    assert found.layout == "folders" and found.has_labels
    assert labelled(found) == [
        ("n01/deep/er/c.jpg", "n01"),
        ("n02/a.png", "n02"),
        ("n02/b.JPEG", "n02"),
    ]
    assert found.labels == ("n01", "n02", "n03"), "a folder without pictures is a class too"
    assert all(each.path.is_file() for each in found.pictures)


def test_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    colour(tmp_path / "cat/1.png", 1)
    others = (
        *("cat/Thumbs.db", "cat/notes.txt", "cat/._1.png", "cat/.DS_Store", "cat/weights.h5"),
        *("cat/README", "labels.csv", "cat/1.xml"),
    )
    for name in others:
        (tmp_path / name).write_text("no picture")
    for name in (".git", "__MACOSX", "@eaDir"):
        colour(tmp_path / name / "x.png", 1)
    found = read_collection(tmp_path)
    assert (names(found), found.others, found.labels) == (["cat/1.png"], len(others), ("cat",))


def test_an_image_without_a_suffix_is_recognised_by_its_content(tmp_path: Path) -> None:
    colour(tmp_path / "cat/x.png", 1).rename(tmp_path / "cat/0001")
    assert names(read_collection(tmp_path)) == ["cat/0001"]


def test_images_in_one_folder_have_no_classes(tmp_path: Path) -> None:
    colour(tmp_path / "b.png", 1)
    colour(tmp_path / "a.bmp", 1)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    found = read_collection(tmp_path)
    assert (found.layout, found.has_labels, found.others) == ("flat", False, 1)
    assert labelled(found) == [("a.bmp", None), ("b.png", None)]


def test_images_beside_class_folders_count_as_other_files(tmp_path: Path) -> None:
    colour(tmp_path / "cat/1.png", 1)
    colour(tmp_path / "overview.png", 1)
    found = read_collection(tmp_path)
    assert (names(found), found.others) == (["cat/1.png"], 1)


def test_links_are_followed_once(tmp_path: Path) -> None:
    colour(tmp_path / "elsewhere/x.png", 1)
    (tmp_path / "data/cat").mkdir(parents=True)
    (tmp_path / "data/cat/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/round").symlink_to(tmp_path / "data/cat")
    (tmp_path / "data/dog").symlink_to(tmp_path / "elsewhere")
    found = read_collection(tmp_path / "data")
    assert names(found) == ["cat/more/x.png", "dog/x.png"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(InputError, match="has no image: give a folder with one folder for each"):
        read_collection(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_collection(tmp_path / "nothing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    colour(tmp_path / "cat/1.png", 1)
    (tmp_path / "cat").chmod(0)
    try:
        with pytest.raises(InputError, match="cat cannot be read"):
            read_collection(tmp_path)
    finally:
        (tmp_path / "cat").chmod(0o700)


TABLES = {
    "plain": "b.png,dog\na.png,cat\n",
    "header": "path,label\nb.png,dog\na.png,cat\n",
    "other order": "id,class,file,note\n0,dog,b.png,x\n1,cat,a.png,\n",
    "semicolons": "b.png;dog\na.png;cat\n",
    "tabs": "b.png\tdog\na.png\tcat\n",
    "mark and blank lines": "\ufeffPath, Label\r\n\r\nb.png, dog\r\na.png, cat\r\n\r\n",
    "quoted": '"b.png","dog"\n"a.png","cat"\n',
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables(tmp_path: Path, kind: str) -> None:
    for name in ("a.png", "b.png"):
        colour(tmp_path / name, 1)
    table = tmp_path / "val.csv"
    table.write_bytes(TABLES[kind].encode())
    found = read_collection(table)
    assert labelled(found) == [("a.png", "cat"), ("b.png", "dog")]
    assert (found.layout, found.labels, found.has_labels) == ("table", ("cat", "dog"), True)


def test_a_list_in_imagenets_format_is_read(tmp_path: Path) -> None:
    colour(tmp_path / "a.JPEG", 1)
    (tmp_path / "val.txt").write_text("a.JPEG 65\n")
    assert labelled(read_collection(tmp_path / "val.txt")) == [("a.JPEG", "65")]


def test_a_table_of_paths_alone_has_no_classes(tmp_path: Path) -> None:
    colour(tmp_path / "my cat.png", 1)
    (tmp_path / "all.csv").write_text("my cat.png\n")
    found = read_collection(tmp_path / "all.csv")
    assert labelled(found) == [("my cat.png", None)] and not found.has_labels


BAD_TABLES = {
    "": "is empty",
    "path,label\n": "lists no image",
    "a.png,cat\na.png,dog\n": "line 2: a.png is already in line 1",
    "a.png,cat\nb.png\n": "line 2 has no class",
    "a.png,cat\n,dog\n": "line 2 has no path",
    "a.png,cat,more\n": "more than two columns",
    "nothing.png,cat\n": "lists nothing.png and other images that do not exist",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str) -> None:
    colour(tmp_path / "a.png", 1)
    (tmp_path / "val.csv").write_text(text)
    with pytest.raises(InputError, match=BAD_TABLES[text]):
        read_collection(tmp_path / "val.csv")


def test_binary_content_is_not_a_table(tmp_path: Path) -> None:
    colour(tmp_path / "a.png", 1)
    with pytest.raises(InputError, match="cannot be read as a table"):
        read_collection(tmp_path / "a.png")


def test_a_sample_is_the_same_everywhere(tmp_path: Path) -> None:
    for index in range(30):
        colour(tmp_path / "cat" / f"{index:02}.png", 1)
    found = read_collection(tmp_path)
    drawn = found.sample(8, seed=1)
    assert names(drawn) == sorted(names(drawn)) and len(set(names(drawn))) == 8
    assert names(drawn) == names(found.sample(8, seed=1)) != names(found.sample(8, seed=2))
    assert found.sample(100) == found
    # Known by heart: another machine, version or order of the folder must draw the same.
    assert names(found.sample(3)) == ["cat/14.png", "cat/21.png", "cat/26.png"]
    colour(tmp_path / "cat" / "31.png", 1)
    assert len(set(names(drawn)) - set(names(read_collection(tmp_path).sample(8, seed=1)))) <= 1
    with pytest.raises(InputError, match="--sample 0 draws no image"):
        found.sample(0)


def test_the_digest_depends_on_names_and_classes(tmp_path: Path) -> None:
    colour(tmp_path / "a/cat/1.png", 1)
    colour(tmp_path / "b/cat/1.png", 200)
    colour(tmp_path / "c/dog/1.png", 1)
    one, same, other = (read_collection(tmp_path / each).digest for each in "abc")
    assert one == same != other


def test_images_of_every_kind_are_preprocessed_alike(tmp_path: Path) -> None:
    """Grey, transparent, CMYK, rotated and 16-bit images, read through a collection."""
    folder = tmp_path / "cat"
    folder.mkdir()
    grey = np.full((6, 6), 128, np.uint8)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(grey).convert("1").save(folder / "bits.png")
    Image.fromarray(np.full((6, 6, 4), (128, 128, 128, 255), np.uint8)).save(folder / "alpha.png")
    Image.new("RGBA", (6, 6), (0, 0, 0, 0)).save(folder / "clear.png")
    Image.new("CMYK", (6, 6), (0, 0, 0, 127)).save(folder / "print.tif")
    Image.fromarray(np.full((6, 6), 128 * 257, np.uint16)).save(folder / "wide.png")
    Image.fromarray(grey).convert("P").save(folder / "palette.gif")
    turned = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 3, axis=0).repeat(6, 1))
    exif = Image.Exif()
    exif[0x0112] = 3
    turned.save(folder / "turned.png", exif=exif)
    from tests.evaluation.pictures import classifier

    taken = classifier(lambda colours: colours).taken
    pixels = {each.name: taken.load(each.path) for each in read_collection(tmp_path).pictures}
    for name in ("grey.png", "alpha.png", "print.tif", "wide.png", "palette.gif"):
        assert np.abs(pixels[f"cat/{name}"].astype(int) - 128).max() <= 1, name
    assert set(np.unique(pixels["cat/bits.png"])) <= set(range(256))
    assert pixels["cat/clear.png"].min() == 255
    top, bottom = pixels["cat/turned.png"][0, 0, 0, 0], pixels["cat/turned.png"][0, 0, -1, 0]
    assert (top, bottom) == (255, 0), "the camera stood upside down"


def test_a_link_out_of_a_class_changes_no_label(tmp_path: Path) -> None:
    data = tmp_path / "data"
    colour(data / "cat/1.png", 1)
    colour(data / "dog/2.png", 1)
    colour(tmp_path / "more/3.png", 1)
    for name, target in {
        "up": data,
        "above": tmp_path,
        "other": data / "dog",
        "more": tmp_path / "more",
    }.items():
        (data / "cat" / name).symlink_to(target)
    (data / "all").symlink_to(data)
    found = read_collection(data)
    assert labelled(found) == [
        ("cat/1.png", "cat"),
        ("cat/more/3.png", "cat"),
        ("dog/2.png", "dog"),
    ]
    assert found.labels == ("cat", "dog")


def test_a_name_that_is_too_long_is_reported_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read .File name too long.: give a folder"):
        read_collection(tmp_path / ("x" * 5000))
    table = tmp_path / "val.csv"
    table.write_text(f"path,label\n{'x' * 5000}.png,cat\n")
    with pytest.raises(InputError, match="that do not exist"):
        read_collection(table)


@pytest.mark.parametrize(
    "header", ["img,label", "fname,class", "img_path,target", "photo,category", "Image,Label"]
)
def test_a_header_line_is_not_an_image(tmp_path: Path, header: str) -> None:
    colour(tmp_path / "a.png", 1)
    (tmp_path / "val.csv").write_text(f"{header}\na.png,cat\n")
    assert labelled(read_collection(tmp_path / "val.csv")) == [("a.png", "cat")]


def test_an_image_of_a_class_called_target_is_not_a_header(tmp_path: Path) -> None:
    colour(tmp_path / "a.png", 1)
    (tmp_path / "val.csv").write_text("a.png,target\n")
    assert labelled(read_collection(tmp_path / "val.csv")) == [("a.png", "target")]
