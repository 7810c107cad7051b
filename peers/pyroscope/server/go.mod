// Built outside the tree (peers/pyroscope/build.py copies this directory to a cache first), so that
// go.sum and the indirect requirements that Go adds never land in the project.
module cotenant/peers/pyroscope

go 1.25.0

require (
	connectrpc.com/connect v1.19.2
	github.com/google/pprof v0.0.0-20260906184651-6331bc6350fe
	github.com/grafana/pyroscope/api v1.6.0
	go.opentelemetry.io/proto/otlp v1.10.0
	go.opentelemetry.io/proto/otlp/collector/profiles/v1development v0.3.0
	google.golang.org/protobuf v1.36.12
)
