"""`from titan import TitanClient, TitanJob`: the short name of the SDK."""

from titan_sdk import *  # noqa: F403
from titan_sdk import __all__ as __all__
