"""What reading an .npz file raises where it is none, or not a whole one."""

import zipfile
import zlib

UNREADABLE = (  # not there, cut off, damaged, an .npy, or other arrays
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error),
    *(TypeError, ValueError, KeyError, IndexError),
)
