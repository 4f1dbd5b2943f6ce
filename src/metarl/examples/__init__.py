"""Small programs to copy from; each runs as `python -m metarl.examples.NAME`."""
