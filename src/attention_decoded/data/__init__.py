"""The data room: real data from installed packages, and the reader's own files.

Nothing here downloads, and nothing here imports torch: sentences are strings, ids are lists of
integers, images are numpy arrays. Importing a module reads no file; calling a function does.
"""
