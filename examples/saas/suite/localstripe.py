# Runs localstripe on 127.0.0.1, and prints its port. Its own program listens on all interfaces.
import socket

from aiohttp import web
from localstripe.resources import store
from localstripe.server import app

# Each run starts empty, and leaves no file.
store.dump_to_disk = lambda: None

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
web.run_app(app, sock=listener, print=None)
