"""The only room that knows foreign formats: a file or folder becomes one `Denoiser`."""
