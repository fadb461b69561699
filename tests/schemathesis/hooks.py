"""How bodies are written that are no JSON: as the text that they are."""

import schemathesis


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def text(context, value):
    return str(value).encode("utf-8", errors="replace")
