#!/usr/bin/env python3
"""A stand-in for Android's adb: a folder is the phone, and what is asked of it is written down.

ADB_PHONE names the folder. ``devices`` in it holds what ``adb devices`` lists. ``browser``, if it
is there, is a program that is started with each address that is opened.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PHONE = Path(os.environ["ADB_PHONE"])
PROPERTIES = {"ro.product.model": "Pixel 8", "ro.soc.model": "Tensor G3"}


def main() -> int:
    words = sys.argv[1:]
    with (PHONE / "asked").open("a") as asked:
        asked.write(" ".join(words) + "\n")
    if words == ["devices"]:
        print("List of devices attached\n" + (PHONE / "devices").read_text())
        return 0
    serial, command = words[:2], words[2:]
    if serial[0] != "-s" or serial[1] not in (PHONE / "devices").read_text():
        print("error: device not found", file=sys.stderr)
        return 1
    if command[0] == "push":
        place = PHONE / command[2].lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(command[1], place)
    elif command[:2] == ["shell", "getprop"]:
        print(PROPERTIES.get(command[2], ""))
    elif command[:3] == ["shell", "am", "start"]:
        if (PHONE / "locked").exists():
            print("Error: Activity not started, unable to resolve Intent")
            return 0
        # What the shell of the phone makes of the words.
        address = command[-1].strip("'")
        if (PHONE / "browser").exists():
            subprocess.Popen([sys.executable, str(PHONE / "browser"), address])
    elif command[0] == "shell" and command[1].endswith("/program"):
        print((PHONE / "prints").read_text())
    return 0


sys.exit(main())
