from vaelab.api.loading import load as load
from vaelab.api.pictures import save_images as save_images
from vaelab.api.trained_model import TrainedModel as TrainedModel
from vaelab.api.training import train as train
from vaelab.config import UserError as UserError

__all__ = ["TrainedModel", "UserError", "load", "save_images", "train"]
