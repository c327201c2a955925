// Package trace makes OpenTelemetry spans of a launch: how long router, brain and seat took for
// which part of it, in one trace. It is off unless the environment names where spans go, and then
// nothing of OpenTelemetry is made: a nil Tracer makes nil Spans, and all their methods do nothing.
//
//	tracer, err := trace.FromEnv("router", log) // nil where the environment names no collector
//	defer tracer.Close()
//	span := tracer.Start("", "router place", session)
//	span.Set("site", "eu-west-1")
//	carried := span.Parent() // of the next part: its tracer.Start(carried, "brain broker", session)
//	span.End()
//
// The variables are those of OpenTelemetry's standard. OTEL_EXPORTER_OTLP_ENDPOINT, or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, is the URL of a collector that takes OTLP by HTTP; each of
// OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none switches it off again. OTEL_TRACES_SAMPLER,
// OTEL_BSP_… and OTEL_RESOURCE_ATTRIBUTES do what the standard says, and of OTEL_EXPORTER_OTLP_… so do
// HEADERS and TIMEOUT; PROTOCOL can only be http/protobuf. SSL_CERT_FILE has the authority of an
// https collector that is not the system's.
//
// Whether a launch is sampled is decided where its trace begins, which is the router. Its ticket
// carries that as a W3C traceparent, signed with all else; a browser can say nothing of it.
package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"

	"github.com/nearcast/nearcast/internal/version"
)

// MaxParent is the length of a traceparent. Longer ones are taken for none.
const MaxParent = 55

const (
	// closeWithin is how long the last spans of a process have to reach the collector.
	closeWithin = 2 * time.Second
	// maxValue is the longest value of an attribute; more is cut off.
	maxValue = 1 << 10
	// sayEvery is how often a collector that does not answer is told of.
	sayEvery = time.Minute
)

// Tracer makes the spans of one process. nil makes none.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   api.Tracer
}

// FromEnv is the tracer that the environment asks for; nil where it asks for none. part is
// "router", "brain" or "seat".
func FromEnv(part string, log *slog.Logger, attributes ...string) (*Tracer, error) {
	if !wanted() {
		return nil, nil
	}
	if protocol, name := variable("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("%s is %q: traces go by http/protobuf alone; name a port of the collector that takes that, as a rule 4318", name, protocol)
	}
	client, err := postTo(variable("ENDPOINT"))
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	exporter, err := otlptrace.New(ctx, client) // which connects to nothing yet
	if err != nil {
		return nil, fmt.Errorf("make the exporter of traces: %w", err)
	}
	about := []attribute.KeyValue{attribute.String("service.name", "nearcast-"+part), attribute.String("service.version", version.String())}
	for i := 0; i+1 < len(attributes); i += 2 {
		about = append(about, attribute.String(attributes[i], attributes[i+1]))
	}
	// What the environment says comes last, and so wins.
	named, err := resource.New(ctx, resource.WithAttributes(about...), resource.WithFromEnv())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err), exporter.Shutdown(ctx))
	}
	limits := sdk.NewSpanLimits()
	if limits.AttributeValueLengthLimit < 0 {
		limits.AttributeValueLengthLimit = maxValue
	}
	otel.SetErrorHandler(&failures{log: log})
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(named), sdk.WithRawSpanLimits(limits))
	log.Info("launches are traced")
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/nearcast/nearcast")}, nil
}

func wanted() bool {
	where, _ := variable("ENDPOINT")
	return where != "" && os.Getenv("OTEL_SDK_DISABLED") != "true" && os.Getenv("OTEL_TRACES_EXPORTER") != "none"
}

// failures tells of what OpenTelemetry could not do, which is lost and disturbs nothing else.
type failures struct {
	log  *slog.Logger
	said atomic.Int64
}

func (f *failures) Handle(err error) {
	now, said := time.Now().Unix(), f.said.Load()
	if err == nil || now-said < int64(sayEvery/time.Second) || !f.said.CompareAndSwap(said, now) {
		return
	}
	f.log.Warn("traces are lost", "error", err)
}

// Close sends what is left, for two seconds at most.
func (t *Tracer) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err)
	}
}

// Span is a part of a launch. nil is none.
type Span struct {
	t       *Tracer
	span    api.Span
	session string
}

// Start begins a span of a session. parent is what Parent gave in the process before; without a
// sound one, a trace begins here.
func (t *Tracer) Start(parent, name, session string) *Span {
	if t == nil {
		return nil
	}
	return t.StartAt(parent, name, session, time.Now())
}

// StartAt is Start for what began before.
func (t *Tracer) StartAt(parent, name, session string, began time.Time) *Span {
	if t == nil {
		return nil
	}
	return t.start(extract(parent), name, session, began)
}

// Sound reports whether a traceparent can be gone on with.
func Sound(parent string) bool { return api.SpanContextFromContext(extract(parent)).IsValid() }

func extract(parent string) context.Context {
	ctx := context.Background()
	if len(parent) > MaxParent {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent})
}

func (t *Tracer) start(ctx context.Context, name, session string, began time.Time) *Span {
	_, span := t.tracer.Start(ctx, name, api.WithTimestamp(began), api.WithAttributes(attribute.String("session", session)))
	return &Span{t: t, span: span, session: session}
}

// Child begins a part of s.
func (s *Span) Child(name string) *Span {
	if s == nil {
		return nil
	}
	return s.ChildAt(name, time.Now())
}

// ChildAt is Child for what began before.
func (s *Span) ChildAt(name string, began time.Time) *Span {
	if s == nil {
		return nil
	}
	return s.t.start(api.ContextWithSpan(context.Background(), s.span), name, s.session, began)
}

// Parent is s as a W3C traceparent, for the process that goes on; empty where nothing is traced.
func (s *Span) Parent() string {
	if s == nil {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(api.ContextWithSpan(context.Background(), s.span), carrier)
	return carrier["traceparent"]
}

// Recorded reports whether what is set on s is sent. It saves the work of making it.
func (s *Span) Recorded() bool { return s != nil && s.span.IsRecording() }

// Set sets an attribute.
func (s *Span) Set(key, value string) {
	if s != nil {
		s.span.SetAttributes(attribute.String(key, value))
	}
}

// SetList sets an attribute that has several values.
func (s *Span) SetList(key string, values []string) {
	if s != nil {
		s.span.SetAttributes(attribute.StringSlice(key, values))
	}
}

// Fail notes that this part of the launch failed, and why, which may be another process's words.
func (s *Span) Fail(why string) {
	if s != nil {
		s.span.SetStatus(codes.Error, strings.ToValidUTF8(why[:min(len(why), maxValue)], ""))
	}
}

// End ends s. What comes after is not noted.
func (s *Span) End() { s.EndAt(time.Now()) }

// EndAt is End for what ended before.
func (s *Span) EndAt(when time.Time) {
	if s != nil {
		s.span.End(api.WithTimestamp(when))
	}
}
