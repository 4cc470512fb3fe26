"""What both services may be told about traces, under OpenTelemetry's own names, and the tracer made of it.

Of no library itself: a service that sends no traces imports nothing of OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Protocol
from urllib.parse import urlsplit

from msgspec import Meta

from shared.settings import Doc

if TYPE_CHECKING:
    from shared.tracing import Tracer

Sampling = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]
OtelEndpoint = Annotated[
    str | None,
    Doc(
        "Collector of traces (OTLP over HTTP, as http://collector:4318); none: no traces. Needs the extra `otel`.",
        env="OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
]
OtelCertificate = Annotated[
    str | None,
    Doc(
        "PEM file of the CA that signed the collector's certificate, if not public.",
        env="OTEL_EXPORTER_OTLP_CERTIFICATE",
    ),
]
OtelServiceName = Annotated[str, Doc("What this service is called in traces.", env="OTEL_SERVICE_NAME")]
OtelSampler = Annotated[
    Sampling,
    Doc(
        "What is traced, by OpenTelemetry's names; `parentbased_…` follows a caller that sent a `traceparent`.",
        env="OTEL_TRACES_SAMPLER",
    ),
]
OtelSamplerRatio = Annotated[
    Annotated[float, Meta(ge=0, le=1)],
    Doc("Share of what is traced, for the `…traceidratio` samplers.", env="OTEL_TRACES_SAMPLER_ARG"),
]
_NO_EXTRA = (
    "OTEL_EXPORTER_OTLP_ENDPOINT is set, but {} is not installed: pip install --require-hashes -r requirements/otel.txt, "
    "build the image with --build-arg OTEL=true, or unset the variable"
)


class TracingSettings(Protocol):
    """The part of a service's settings that is meant."""

    @property
    def otel_endpoint(self) -> str | None: ...
    @property
    def otel_certificate(self) -> str | None: ...
    @property
    def otel_service_name(self) -> str: ...
    @property
    def otel_sampler(self) -> Sampling: ...
    @property
    def otel_sampler_ratio(self) -> float: ...


def endpoint_mistakes(endpoint: str | None) -> Iterator[str]:
    """What is wrong with a collector that cannot be one, or an address with a secret in it; never shows the address."""
    if endpoint is None:
        return
    if not endpoint.startswith(("http://", "https://")):
        yield "OTEL_EXPORTER_OTLP_ENDPOINT must begin with http:// or https://: traces go by OTLP over HTTP"
    if "@" in urlsplit(endpoint).netloc:
        yield (
            "OTEL_EXPORTER_OTLP_ENDPOINT: no user or password in the address, for addresses are logged; a secret goes in "
            "OTEL_EXPORTER_OTLP_HEADERS (as authorization=Basic%20…)"
        )


def tracer_of(settings: TracingSettings) -> Tracer | None:
    """As the settings say, not started; None where no collector is named. Raises ValueError without the extra `otel`."""
    if settings.otel_endpoint is None:
        return None
    try:
        from shared.tracing import Tracer, otlp, sampler  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(_NO_EXTRA.format(error.name)) from error
    return Tracer(
        settings.otel_service_name,
        sampler(settings.otel_sampler, settings.otel_sampler_ratio),
        otlp(settings.otel_endpoint, settings.otel_certificate),
    )
