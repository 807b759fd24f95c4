"""distmnist: synchronous data-parallel training with TensorFlow and Horovod."""

from distmnist.api import Fitted, fit
from distmnist.core.config import Config

__version__ = "0.1.0"
__all__ = ["Config", "Fitted", "fit"]
