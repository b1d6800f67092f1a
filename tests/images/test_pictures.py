"""Images are read as a viewer shows them; the expected pixels are computed without Pillow."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from slide_deploy.errors import InputError
from slide_deploy.images.pictures import read_picture
from slide_deploy.images.preprocessing import load_pixels

RAMP = np.linspace(0, 1, 256).reshape(16, 16)
GREY = np.round(RAMP * 255)
COLOURS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)


def seen(path: Path) -> np.ndarray:
    picture = read_picture(path)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


def assert_grey(path: Path, expected: np.ndarray) -> None:
    pixels = seen(path)
    assert np.abs(pixels - np.asarray(expected)[..., None]).max() <= 1


def png(path: Path, colour: int, depth: int, rows: list[bytes], *chunks: tuple[bytes, bytes]):
    """A PNG file made by hand: Pillow writes few of the kinds that it reads."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    width = len(rows[0]) * 8 // (depth * channels)
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    content += b"".join(chunk(*each) for each in chunks)
    path.write_bytes(content + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


def rows_of(samples: np.ndarray, dtype: str) -> list[bytes]:
    return [np.ascontiguousarray(row.astype(dtype)).tobytes() for row in samples]


def test_sixteen_bits_of_grey_are_scaled(tmp_path: Path) -> None:
    wide = np.round(RAMP * 65535)
    Image.fromarray(wide.astype(np.uint16)).save(tmp_path / "pillow.png")
    for path in (
        tmp_path / "pillow.png",
        png(tmp_path / "plain.png", 0, 16, rows_of(wide, ">u2")),
    ):
        assert_grey(path, GREY)
    Image.fromarray(wide.astype(np.uint16)).save(tmp_path / "wide.tif")
    assert_grey(tmp_path / "wide.tif", GREY)
    assert_grey(Path(_pgm(tmp_path / "wide.pgm", wide, 65535)), GREY)
    assert_grey(Path(_pgm(tmp_path / "twelve.pgm", np.round(RAMP * 4095), 4095)), GREY)


def _pgm(path: Path, samples: np.ndarray, largest: int) -> Path:
    height, width = samples.shape
    path.write_bytes(b"P5 %d %d %d\n" % (width, height, largest) + samples.astype(">u2").tobytes())
    return path


def test_dark_16_bit_images_stay_dark(tmp_path: Path) -> None:
    path = png(tmp_path / "dark.png", 0, 16, rows_of(RAMP * 255, ">u2"))
    assert seen(path).max() <= 1


def test_sixteen_bits_of_colour(tmp_path: Path) -> None:
    wide = COLOURS.astype(int) * 257
    path = png(tmp_path / "c.png", 2, 16, rows_of(wide.reshape(16, -1), ">u2"))
    assert np.array_equal(seen(path), COLOURS)


@pytest.mark.parametrize("factor", [255, 65535])
def test_whole_numbers_of_32_bits(tmp_path: Path, factor: int) -> None:
    Image.fromarray(np.round(RAMP * factor).astype(np.int32)).save(tmp_path / "i.tif")
    assert_grey(tmp_path / "i.tif", GREY)


@pytest.mark.parametrize("factor", [1, 255])
def test_floating_point(tmp_path: Path, factor: int) -> None:
    Image.fromarray((RAMP * factor).astype(np.float32)).save(tmp_path / "f.tif")
    assert_grey(tmp_path / "f.tif", GREY)


@pytest.mark.parametrize(
    "samples",
    [
        RAMP.astype(np.float32) * 1e4,
        RAMP.astype(np.float32) - 0.5,
        np.full((16, 16), np.nan, np.float32),
        (RAMP * 2**30).astype(np.int32),
        (RAMP * 99).astype(np.int32) - 5,
    ],
)
def test_samples_without_a_scale_are_refused(tmp_path: Path, samples: np.ndarray) -> None:
    Image.fromarray(samples).save(tmp_path / "s.tif")
    with pytest.raises(InputError, match=r"s\.tif has samples from .* save it with 8 or 16 bits"):
        read_picture(tmp_path / "s.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_files_whose_zero_is_white(tmp_path: Path, dtype: type) -> None:
    samples = np.round(RAMP * np.iinfo(dtype).max).astype(dtype)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    Image.fromarray(samples).save(tmp_path / "t.tif", tiffinfo=tags)
    content = bytearray((tmp_path / "t.tif").read_bytes())
    entry = content.index(struct.pack("<HHIH", 262, 3, 1, 1))
    content[entry + 8] = 0
    (tmp_path / "t.tif").write_bytes(content)
    assert_grey(tmp_path / "t.tif", 255 - GREY)


def test_one_bit(tmp_path: Path) -> None:
    bits = RAMP > 0.5
    for name in ("b.png", "b.tif", "b.bmp"):
        Image.fromarray(bits).save(tmp_path / name)
        assert_grey(tmp_path / name, bits * 255)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:8, :, 0] = 255  # cyan above
    inks[8:, :, 1] = 128  # half magenta below
    inks[:, 8:, 3] = 255  # black at the right
    expected = np.zeros((16, 16, 3), int)
    expected[:8, :8] = (0, 255, 255)
    expected[8:, :8] = (255, 127, 255)
    for name, options in (("k.tif", {}), ("k.jpg", {"quality": 100, "subsampling": 0})):
        Image.fromarray(inks, "CMYK").save(tmp_path / name, **options)
        assert np.abs(seen(tmp_path / name) - expected).max() <= 6, name
    # Adobe's programs store inks inverted and say so in a marker.
    assert b"Adobe" in (tmp_path / "k.jpg").read_bytes()


def test_transparency_shows_white(tmp_path: Path) -> None:
    alpha = np.tile(np.linspace(0, 255, 24).astype(np.uint8), (16, 1))
    share = alpha[..., None] / 255
    expected = COLOURS * share + 255 * (1 - share)
    rgba = np.dstack([COLOURS, alpha])
    for name in ("a.png", "a.tif"):
        Image.fromarray(rgba).save(tmp_path / name)
        assert np.abs(seen(tmp_path / name) - expected).max() <= 1, name
    grey = COLOURS[..., 0]
    Image.fromarray(np.dstack([grey, alpha])).save(tmp_path / "la.png")
    assert np.abs(seen(tmp_path / "la.png") - expected[..., :1]).max() <= 1
    wide = np.dstack([grey, alpha]).reshape(16, -1).astype(int) * 257
    path = png(tmp_path / "la16.png", 4, 16, rows_of(wide, ">u2"))
    assert np.abs(seen(path) - expected[..., :1]).max() <= 1


def test_palettes_with_and_without_transparency(tmp_path: Path) -> None:
    indices = np.arange(16).reshape(4, 4) % 4
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30)], np.uint8)
    palette = (b"PLTE", colours.tobytes())
    plain = png(tmp_path / "p.png", 3, 8, rows_of(indices, "u1"), palette)
    assert np.array_equal(seen(plain), colours[indices])
    half = (b"tRNS", bytes([255, 0, 128]))
    expected = colours.astype(float)
    expected[1] = 255
    expected[2] = expected[2] * 128 / 255 + 255 * 127 / 255
    through = png(tmp_path / "t.png", 3, 8, rows_of(indices, "u1"), palette, half)
    assert np.abs(seen(through) - expected[indices]).max() <= 1
    picture = Image.fromarray(indices.astype(np.uint8), "P")
    picture.putpalette(colours.tobytes())
    picture.save(tmp_path / "g.gif", transparency=1)
    expected[2] = colours[2]
    assert np.array_equal(seen(tmp_path / "g.gif"), expected[indices])


@pytest.mark.parametrize("depth", [8, 16])
def test_one_grey_value_may_mean_transparent(tmp_path: Path, depth: int) -> None:
    grey = np.array([[0, 50], [100, 255]])
    rows = rows_of(grey if depth == 8 else grey * 257, f">u{depth // 8}")
    clear = (b"tRNS", struct.pack(">H", 50 if depth == 8 else 50 * 257))
    path = png(tmp_path / "t.png", 0, depth, rows, clear)
    assert_grey(path, np.array([[0, 255], [100, 255]]))


# What a camera stores, and what turns the stored pixels upright.
TURNS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_photographs_are_rotated_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    expected = TURNS[orientation](COLOURS.astype(int))
    for name in ("e.png", "e.tif", "e.webp", "e.jpg"):
        options = {"lossless": True} if name == "e.webp" else {}
        if name == "e.jpg":
            options = {"quality": 100, "subsampling": 0}
        Image.fromarray(COLOURS).save(tmp_path / name, exif=exif, **options)
        pixels = seen(tmp_path / name)
        assert pixels.shape == expected.shape, name
        assert np.abs(pixels - expected).max() <= (8 if name == "e.jpg" else 0), name


def test_wide_samples_are_rotated_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.round(RAMP * 65535).astype(np.uint16)).save(tmp_path / "w.png", exif=exif)
    assert_grey(tmp_path / "w.png", np.rot90(GREY, -1))


def test_damaged_exif_data_are_ignored(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "d.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert np.array_equal(seen(tmp_path / "d.png"), COLOURS)


def test_an_animation_is_read_as_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "white")]
    for name in ("a.gif", "a.png", "a.webp", "a.tif"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert (seen(tmp_path / name) == (255, 0, 0)).all(), name


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint8)).save(tmp_path / "l.png")
    assert_grey(tmp_path / "l.png", GREY)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".gif", ".webp", ".bmp"])
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str) -> None:
    whole = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    format = {".jpg": "jpeg", ".tif": "tiff"}.get(suffix, suffix[1:])
    Image.fromarray(noise).save(whole, format)
    path = tmp_path / f"cut{suffix}"
    for share in (0.02, 0.3, 0.7):
        path.write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * share)])
        with pytest.raises(InputError) as refused:
            read_picture(path)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_bomb_is_refused_and_a_large_picture_is_not_remarked_on(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = bytes(30_000 // 8)
    bomb = png(tmp_path / "bomb.png", 0, 1, [row] * 30_000)
    with pytest.raises(InputError, match=r"bomb\.png is an image of more than .* make it smaller"):
        read_picture(bomb)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    Image.fromarray(COLOURS).save(tmp_path / "large.png")
    assert np.array_equal(seen(tmp_path / "large.png"), COLOURS)
    assert not recwarn.list


def test_a_long_narrow_image_is_refused(tmp_path: Path) -> None:
    Image.new("L", (20_000, 1)).save(tmp_path / "strip.png")
    with pytest.raises(InputError, match="too long and narrow, 20000x1 pixels: crop it"):
        load_pixels(tmp_path / "strip.png", (224, 224))


def test_lightness_and_opponent_colours(tmp_path: Path) -> None:
    # 43.9, 63 and 55: what colour tables give for this red.
    Image.new("LAB", (8, 8), (112, 191, 183)).save(tmp_path / "lab.tif")
    assert np.abs(seen(tmp_path / "lab.tif") - (200, 30, 10)).max() <= 2
