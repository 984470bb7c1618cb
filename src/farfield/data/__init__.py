"""Pixels and files: images in, images out, and the real domains that ship with libraries."""
