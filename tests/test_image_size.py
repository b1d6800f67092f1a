import pytest

from slide_deploy.errors import InputError
from slide_deploy.parsing import parse_size


def test_one_number_is_a_square():
    assert parse_size("224", "size") == (224, 224)
    assert parse_size("512x768", "size") == (512, 768)


@pytest.mark.parametrize("text", ["", "x", "224x", "1x2x3", "-1", "a", "0", "0x64"])
def test_anything_else_is_refused(text):
    with pytest.raises(InputError, match=r"--image-size .*is not a size: give 224 or 512x768"):
        parse_size(text, "--image-size")
