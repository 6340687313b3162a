"""A Flask application: `gunicorn flask_app:app --workers 4 --threads 8`."""

from callbell_sync import send
from flask import Flask, request
from flask.typing import ResponseReturnValue

from callbell_async import CallbellError, TextMessage

app = Flask(__name__)


@app.post("/orders")
def confirm() -> ResponseReturnValue:
    """Send the confirmation of an order once, however often it is requested."""
    order = request.get_json()
    text = f"We have your order {order['id']}."
    try:
        receipt = send(TextMessage(to=order["phone"], text=text, key=f"confirm-{order['id']}"))
    except CallbellError as error:
        return {"outcome": error.outcome}, 502
    return {"uuid": receipt.uuid}
