"""What a user imports to ask a model server for sources; `python -m serving.client` does so for files."""

from serving.client.connection import RetryConfig, ServerError, TlsConfig
from serving.client.localizer_client import LocalizerClient
from serving.client.sources import sources_of

__all__ = ["LocalizerClient", "RetryConfig", "ServerError", "TlsConfig", "sources_of"]
