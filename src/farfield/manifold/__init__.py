"""Why a model generalizes: the Jacobian of its denoiser, the dimension of its data, directions to edit along."""
