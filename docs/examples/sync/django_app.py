"""A Django application in one file: `gunicorn django_app:application --workers 4 --threads 8`."""

import json

from callbell_sync import send
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from callbell_async import CallbellError, TextMessage

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1", "testserver"])


@csrf_exempt
def confirm(request: HttpRequest) -> JsonResponse:
    """Send the confirmation of an order once, however often it is requested."""
    order = json.loads(request.body)
    text = f"We have your order {order['id']}."
    try:
        receipt = send(TextMessage(to=order["phone"], text=text, key=f"confirm-{order['id']}"))
    except CallbellError as error:
        return JsonResponse({"outcome": error.outcome}, status=502)
    return JsonResponse({"uuid": receipt.uuid})


urlpatterns = [path("orders", confirm)]
application = get_wsgi_application()
