"""The files of ONNX Runtime Web, in the wheel or in the user's cache, fetched from npm.

The npm archive is checked against a hash before any of its content is used. Of its 120 MB, a page
needs only the files in `FILES`.

``python -m slide_deploy.backends.web.assets [ARCHIVE]`` puts the files where a wheel includes them;
``make wheel`` runs it. ARCHIVE is the file that ``npm pack`` writes.
"""

import base64
import configparser
import hashlib
import os
import shutil
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.files.scratch import scratch_folder

VERSION = "1.30.0"
FETCH = "slide-deploy web fetch"
# The output of `npm view onnxruntime-web@1.30.0 dist.integrity`.
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
_REGISTRY = "https://registry.npmjs.org/"
_ARCHIVE = f"onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
# The archive is smaller. The limit protects the disk and the memory.
_MOST_BYTES = 64 << 20
_SECONDS_OF_SILENCE = 60

# The build with WebAssembly only is half as large as the one with WebGPU and WebNN.
WASM = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
GPU = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
# The module of `WASM` with its glue code included, for a page that is a single file.
WASM_INLINE = "ort.wasm.bundle.min.mjs"
LICENCE = "LICENSE"
FILES = (*WASM, WASM_INLINE, *GPU, LICENCE)
_HERE = Path(__file__).parent


def runtime_files(device: str) -> tuple[str, str, str]:
    """Return the library's module, its glue code and its binary for "wasm", "webgpu" or "webnn"."""
    return WASM if device == "wasm" else GPU


def find() -> Path | None:
    """Return the folder that holds `FILES`, or None if they have not been fetched."""
    for folder in _folders():
        if all((folder / name).is_file() for name in FILES):
            return folder
    return None


def require() -> Path:
    """Return the folder that holds `FILES`, and fetch them if they are missing.

    Raises:
        InputError: if they are missing and cannot be fetched.
    """
    return find() or fetch()


def fetch(archive: Path | None = None) -> Path:
    """Put `FILES` into the user's cache, and return the folder.

    Args:
        archive: of the npm package, written by ``npm pack``; None downloads it from the registry.

    Raises:
        InputError: if the archive cannot be read or downloaded, or its hash is wrong.
    """
    return _put(_archive(archive), _cache())


def vendor(archive: Path | None = None) -> Path:
    """Put `FILES` where a wheel includes them, and return the folder; see `fetch`."""
    return _put(_archive(archive), _wheel())


def _put(content: bytes, folder: Path) -> Path:
    """Unpack `FILES` into a folder, which appears complete or not at all."""
    files = _unpacked(content)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(folder.parent) as draft:
            made = draft / "made"
            made.mkdir()
            for name, content in files.items():
                (made / name).write_bytes(content)
            if folder.exists():  # some files are missing from it
                shutil.rmtree(folder)
            made.rename(folder)
        return folder
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}): make room there, or name "
            f"another cache with XDG_CACHE_HOME."
        ) from error


def registry() -> str:
    """Return the address of the npm registry, from npm's variables or the user's .npmrc.

    It is the address that ``npm config get registry`` prints.
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


def _archive(path: Path | None) -> bytes:
    return _downloaded() if path is None else _read(path)


def _downloaded() -> bytes:
    address = registry() + _ARCHIVE
    by_hand = (
        f"on a machine with a network, run npm pack onnxruntime-web@{VERSION}, and then {FETCH}"
    )
    if not address.startswith(("https://", "http://")):
        raise InputError(f"The npm registry {address} is not an http address: {by_hand} --from.")
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS_OF_SILENCE) as response:
            content = response.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{address} cannot be fetched ({reason}): {by_hand} --from the file that it writes."
        ) from error
    return _checked(content, address)


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
            f"{name} is not the archive of onnxruntime-web {VERSION} (its SHA-512 differs): "
            f"fetch it again with npm pack onnxruntime-web@{VERSION}."
        )
    return content


def _unpacked(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=BytesIO(content), mode="r:gz") as archive:
        found = {}
        for name in FILES:
            if name != LICENCE:  # the archive does not include its licence file
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None, name  # the hash identifies the archive
                found[name] = member.read()
    return {**found, LICENCE: (_HERE / "onnxruntime-web.LICENSE").read_bytes()}


if __name__ == "__main__":
    try:
        print(vendor(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
    except InputError as error:
        sys.exit(f"slide-deploy: {error}")
