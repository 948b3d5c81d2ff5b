"""Whatever people drop becomes upright RGB pixels, or a reason in words."""

import dataclasses
import io
import resource
import struct
import sys
import threading
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from daemon.contracts import DecodeLimits
from daemon.errors import ImageError, NotAnImageError
from daemon.images.decode import decode
from daemon.preprocessing import Fit, Geometry

DATA = Path(__file__).parents[1].parent / "shared" / "data"
FORMATS = frozenset({"jpeg", "png", "webp", "avif", "gif", "bmp", "tiff"})
LIMITS = DecodeLimits(
    max_pixels=120_000_000,
    max_bytes=200_000_000,
    max_memory_mb=1024,
    timeout_s=20.0,
    threads=1,
    formats=FORMATS,
)
ORIENTATION = 0x0112
UNDO = {  # what a camera held that way would have stored
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def limits(**changes):
    return dataclasses.replace(LIMITS, **changes)


def pixels_of(data, width=32, height=24, fit=Fit.STRETCH, allowed=LIMITS):
    out = np.zeros((height, width, 3), np.uint8)
    facts = decode(data, "ab" * 32, Geometry(height, width, fit), allowed, out)
    return out, facts


def saved(image, name="PNG", **options):
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def scene(width=96, height=72):
    """Draw something with no symmetry at all."""
    image = Image.new("RGB", (width, height), (30, 90, 200))
    draw = ImageDraw.Draw(image)
    draw.rectangle((4, 4, width // 3, height // 4), fill=(240, 40, 20))
    draw.ellipse((width // 2, height // 2, width - 6, height - 4), fill=(250, 230, 60))
    return image


# Which way is up


@pytest.mark.parametrize("name", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF"])
def test_all_eight_orientations_come_out_alike(name):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(name, {})
    tolerance = {"AVIF": 40, "JPEG": 12}.get(name, 0)
    expected, _ = pixels_of(saved(scene()))
    for orientation, undo in UNDO.items():
        stored = scene() if undo is None else scene().transpose(undo)
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        out, facts = pixels_of(saved(stored, name, exif=exif, **options))
        assert (facts.width, facts.height) == (96, 72), orientation
        assert np.abs(out.astype(int) - expected).max() <= tolerance, orientation


def test_a_compressed_tiff_is_turned_only_once():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = scene().transpose(UNDO[6])
    out, facts = pixels_of(saved(stored, "TIFF", exif=exif, compression="tiff_lzw"))
    assert (facts.width, facts.height) == (96, 72)
    np.testing.assert_array_equal(out, pixels_of(saved(scene()))[0])


def test_an_orientation_that_does_not_exist_is_ignored():
    exif = Image.Exif()
    exif[ORIENTATION] = 42
    out, _ = pixels_of(saved(scene(), exif=exif))
    np.testing.assert_array_equal(out, pixels_of(saved(scene()))[0])


# Colours


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (200, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (200, 0, 0, 255), (200, 0, 0)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (0, 51), (204, 204, 204)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 32896, (128, 128, 128)),
    ],
)
def test_each_png_mode_becomes_the_right_colour(mode, colour, expected):
    out, _ = pixels_of(saved(Image.new(mode, (5, 4), colour)))
    assert (out == expected).all(), out[0, 0]


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("YCbCr", (128, 128, 128), (128, 128, 128)),
        ("LAB", (255, 128, 128), (255, 255, 255)),
        ("F", 1.0, (255, 255, 255)),
        ("I", 65535, (255, 255, 255)),
        ("I;16B", 65535, (255, 255, 255)),
        ("PA", (0, 0), (255, 255, 255)),
    ],
)
def test_each_tiff_mode_becomes_the_right_colour(mode, colour, expected):
    image = Image.new(mode, (5, 4), colour)
    if mode == "PA":
        image = image.convert("RGBA")
    out, _ = pixels_of(saved(image, "TIFF"))
    assert np.abs(out.astype(int) - expected).max() <= 2, out[0, 0]


def test_deep_greys_keep_their_order_and_range():
    ramp = np.linspace(-3.0, 9.0, 32, dtype=np.float32)[None].repeat(24, 0)
    out, _ = pixels_of(saved(Image.fromarray(ramp), "TIFF"))
    row = out[0, :, 0].astype(int)
    assert row[0] == 0
    assert row[-1] == 255
    assert (np.diff(row) > 0).all()


def test_a_cmyk_jpeg_is_not_inverted():
    out, _ = pixels_of(saved(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG", quality=95))
    assert (out > 250).all()


def test_a_transparent_palette_lies_on_white():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.paste(1, (4, 0, 8, 8))
    out, _ = pixels_of(saved(image, transparency=0), width=8, height=8)
    assert tuple(out[0, 0]) == (255, 255, 255)
    assert tuple(out[0, 7]) == (0, 200, 0)


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    for name in ("GIF", "WEBP", "PNG"):
        data = saved(frames[0], name, save_all=True, append_images=frames[1:], duration=50)
        out, _ = pixels_of(data)
        assert out[0, 0, 0] > 240, name
        assert out[0, 0, 1] < 15, name


# Geometry


def test_stretch_fills_crop_cuts_and_pad_adds_grey_bars():
    wide = Image.new("RGB", (120, 40), "red")
    wide.paste("lime", (40, 0, 80, 40))
    data = saved(wide)
    stretched, _ = pixels_of(data, 40, 40)
    cropped, _ = pixels_of(data, 40, 40, Fit.CROP)
    padded, _ = pixels_of(data, 40, 40, Fit.PAD)
    assert tuple(stretched[20, 2]) == (255, 0, 0)
    assert (cropped == (0, 255, 0)).all()
    assert tuple(padded[2, 20]) == (128, 128, 128)
    assert tuple(padded[20, 20]) == (0, 255, 0)
    assert tuple(padded[20, 2]) == (255, 0, 0)


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_fit(fit, size):
    out, facts = pixels_of(saved(Image.new("RGB", size, "lime")), 32, 24, fit)
    assert (facts.width, facts.height) == size
    assert (0, 255, 0) in {tuple(pixel) for pixel in out.reshape(-1, 3).tolist()}


def test_a_large_jpeg_decoded_at_a_scale_looks_the_same_and_tells_its_true_size():
    image = scene(1600, 1200)
    exact, _ = pixels_of(saved(image))
    scaled, facts = pixels_of(saved(image, "JPEG", quality=95))
    assert (facts.width, facts.height) == (1600, 1200)
    assert np.abs(exact.astype(int) - scaled).mean() < 2


def test_every_pixel_of_a_large_jpeg_is_decoded_where_that_is_asked_for():
    data = saved(scene(1600, 1200), "JPEG", quality=95)
    whole, _ = pixels_of(data, allowed=limits(scaled=False))
    with Image.open(io.BytesIO(data)) as image:
        wanted = np.asarray(image.resize((32, 24), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(whole, wanted)
    assert (pixels_of(data)[0] != wanted).any()


# Facts


def exif_with(**tags):
    exif = Image.Exif()
    exif._ifds[0x8769] = {{"time": 36867, "zone": 36881}[name]: text for name, text in tags.items()}
    return exif


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"time": "2024:05:06 07:08:09"}, "2024-05-06T07:08:09"),
        ({"time": "2024:05:06 07:08:09", "zone": "+02:00"}, "2024-05-06T07:08:09+02:00"),
        ({"time": "2024:05:06 07:08:09", "zone": "noon"}, "2024-05-06T07:08:09"),
        ({"time": "0000:00:00 00:00:00"}, None),
        ({"time": "yesterday"}, None),
        ({"zone": "+02:00"}, None),
    ],
)
def test_capture_time(tags, expected):
    _, facts = pixels_of(saved(scene(), "JPEG", exif=exif_with(**tags)))
    assert facts.taken_at == expected
    assert expected is None or datetime.fromisoformat(expected)


def test_facts_name_the_content():
    data = saved(scene(), "WEBP")
    _, facts = pixels_of(data)
    assert (facts.format, facts.size, facts.sha256) == ("WEBP", len(data), "ab" * 32)
    assert len(facts.phash) == 16


def test_the_perceptual_hash_outlives_scaling_and_not_another_picture():
    def number(image, name="PNG"):
        return int(pixels_of(saved(image, name))[1].phash, 16)

    same = number(scene()) ^ number(scene(480, 360), "JPEG")
    other = number(scene()) ^ number(scene().transpose(Image.Transpose.ROTATE_180))
    assert same.bit_count() <= 4
    assert other.bit_count() > 12


def test_damaged_exif_costs_only_itself():
    data = bytearray(saved(scene(), "JPEG", exif=exif_with(time="2024:05:06 07:08:09")))
    at = data.index(b"Exif\0\0") + 6
    data[at + 4 : at + 40] = b"\xff" * 36
    out, facts = pixels_of(bytes(data))
    assert facts.taken_at is None
    assert out.any()


# What cannot be read


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_a_truncated_file_is_refused(name):
    noise = np.random.default_rng(1).integers(0, 256, (80, 80, 3), np.uint8)
    data = saved(Image.fromarray(noise), name)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(ImageError, match=r"truncated|damaged") as caught:
            pixels_of(data[: int(len(data) * share)])
        assert not isinstance(caught.value, NotAnImageError)
        assert "0x" not in str(caught.value)


def test_too_many_pixels_are_refused_from_the_header_alone():
    bomb = saved(Image.new("1", (30_000, 30_000)))
    with pytest.raises(ImageError, match=r"900,000,000 pixels.*decode\.max_pixels"):
        pixels_of(bomb)


def test_our_limit_counts_and_not_pillows():
    image = Image.new("1", (20_000, 10_000))  # past the size at which Pillow refuses
    allowed = limits(max_pixels=200_000_000, max_memory_mb=4000)
    _, facts = pixels_of(saved(image), allowed=allowed)
    assert facts.width == 20_000


def test_too_much_memory_is_refused_before_decoding():
    with pytest.raises(ImageError, match=r"decode\.max_memory_mb is 64"):
        pixels_of(saved(Image.new("RGBA", (3000, 3000))), allowed=limits(max_memory_mb=64))


def test_too_many_bytes_are_refused():
    with pytest.raises(ImageError, match=r"decode\.max_bytes is 100"):
        pixels_of(saved(scene()), allowed=limits(max_bytes=100))


def test_a_decompression_bomb_in_a_text_chunk_is_refused():
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * 3_000_000, zip=True)
    with pytest.raises(ImageError, match="damaged"):
        pixels_of(saved(scene(), pnginfo=info))


def test_a_format_that_is_not_accepted_is_ignored_with_its_name():
    with pytest.raises(NotAnImageError, match=r"BMP image; decode\.formats accepts JPEG, PNG$"):
        pixels_of(saved(scene(), "BMP"), allowed=limits(formats=frozenset({"jpeg", "png"})))
    with pytest.raises(NotAnImageError, match=r"PDF document; decode\.formats"):
        pixels_of(saved(scene(), "PDF"))


def test_eps_is_never_opened():
    with pytest.raises(NotAnImageError, match="PostScript"):
        pixels_of(saved(scene(), "EPS"), allowed=limits(formats=FORMATS | {"eps"}))


def test_heic_without_the_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"
    with pytest.raises(NotAnImageError, match=r"pip install classifyd\[heic\]"):
        pixels_of(data, allowed=limits(formats=FORMATS | {"heic"}))


def test_heic_with_the_extra_is_turned_once():
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the heic extra")
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = scene().transpose(UNDO[6])
    data = saved(stored, "HEIF", exif=exif.tobytes(), quality=95)
    out, facts = pixels_of(data, allowed=limits(formats=FORMATS | {"heic"}))
    assert (facts.format, facts.width, facts.height) == ("HEIC", 96, 72)
    assert np.abs(out.astype(int) - pixels_of(saved(scene()))[0]).mean() < 8


# The real thing


@pytest.mark.skipif(not DATA.exists(), reason="needs the awkward images in shared/data")
def test_every_awkward_file_ends_in_pixels_or_a_reason():
    ends = {"read": 0, NotAnImageError: 0, ImageError: 0}
    for path in sorted((DATA / "awkward-images").iterdir()):
        try:
            pixels_of(path.read_bytes())
            ends["read"] += 1
        except ImageError as error:
            ends[type(error)] += 1
            assert "0x" not in str(error), path.name
            assert "<" not in str(error), path.name
    assert sum(ends.values()) == 200
    assert ends["read"] >= 120


@pytest.mark.skipif(not DATA.exists(), reason="needs the photographs in shared/data")
def test_photographs_decode_alike_on_several_threads():
    paths = sorted((DATA / "photos").iterdir())[:60]
    once = [pixels_of(path.read_bytes())[0] for path in paths]
    again = [None] * len(paths)

    def read(start):
        for i in range(start, len(paths), 4):
            again[i] = pixels_of(paths[i].read_bytes())[0]

    threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for first, second in zip(once, again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_frame_that_a_reader_makes_while_it_opens_the_file_is_bounded_too():
    screen = struct.pack("<HH", 5, 5) + b"\x80\0\0" + bytes(6)
    dispose = b"\x21\xf9\x04\x08\0\0\0\0"
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 60_000, 60_000) + b"\0\x02\x02\x4c\x01\0\x3b"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match=r"too large: 3,600,000,000 pixels; decode\.max_pixels"):
        pixels_of(b"GIF89a" + screen + dispose + frame)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
