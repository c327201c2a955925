package trace

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/otlp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clean is an environment without any variable of OpenTelemetry.
func clean(t *testing.T) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"} {
		t.Setenv(name, "")
	}
}

func tracer(t *testing.T, part string) *Tracer {
	t.Helper()
	tr, err := FromEnv(part, slog.New(slog.DiscardHandler), "site", "dc1")
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestOff: without a collector there is no tracer, and a launch allocates nothing for traces.
func TestOff(t *testing.T) {
	clean(t)
	off := tracer(t, "router")
	if off != nil {
		t.Fatal("there is a tracer, and the environment names no collector")
	}
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		span := off.StartAt("", "router place", "s-1", now)
		if span.Recorded() {
			t.Error("a span is recorded")
		}
		span.Set("site", "dc1")
		child := span.Child("brain claim")
		child.Fail("why")
		child.End()
		if span.Parent() != "" {
			t.Error("a traceparent is carried")
		}
		span.End()
	}); n != 0 {
		t.Errorf("a launch without traces makes %v allocations for them", n)
	}
	off.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
	for name, value := range map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "none"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if tracer(t, "router") != nil {
				t.Errorf("there is a tracer with %s=%s", name, value)
			}
		})
	}
}

// TestOneTrace: spans of two processes are of one trace, each with its session, and an unsound
// traceparent begins a trace of its own.
func TestOneTrace(t *testing.T) {
	clean(t)
	collector := otlp.Start()
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20eA==, x-tenant=shop")
	router := tracer(t, "router")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.URL+"/v1/traces") // the whole URL
	brain := tracer(t, "brain")
	place := router.Start("", "router place", "s-1")
	place.SetList("other_sites", []string{"a", "b"})
	place.End()
	carried := place.Parent()
	if !Sound(carried) || len(carried) != MaxParent {
		t.Fatalf("the traceparent is %q", carried)
	}
	broker := brain.Start(carried, "brain broker", "s-1")
	claim := broker.Child("brain claim")
	claim.Fail("taken")
	claim.End()
	broker.End()
	for _, unsound := range []string{"", "00-" + strings.Repeat("0", 32) + "-0000000000000001-01", strings.ToUpper(carried) + "x", carried + strings.Repeat("-ff", 1000), "nonsense"} {
		if Sound(unsound) {
			t.Errorf("%.60q is taken for sound", unsound)
		}
		brain.Start(unsound, "brain broker", "s-2").End()
	}
	router.Close()
	brain.Close()
	if h := collector.Header(); h.Get("Authorization") != "Basic eA==" || h.Get("X-Tenant") != "shop" {
		t.Errorf("the collector got the headers %v", h)
	}
	spans := collector.Spans("session", "s-1")
	if len(spans) != 3 {
		t.Fatalf("%d spans came: %+v", len(spans), spans)
	}
	a, b, c := spans[0], spans[1], spans[2]
	if a.Service != "nearcast-router" || b.Service != "nearcast-brain" || a.Name != "router place" || a.Attributes["other_sites"] != "a\nb" || a.Parent != "" ||
		b.Parent != a.ID || c.Parent != b.ID || a.Trace != b.Trace || b.Trace != c.Trace || c.Error != "taken" {
		t.Errorf("the spans are %+v", spans)
	}
	seen := map[string]bool{a.Trace: true}
	for _, s := range collector.Spans("session", "s-2") {
		if s.Parent != "" || seen[s.Trace] {
			t.Errorf("a span with an unsound parent goes on with a trace: %+v", s)
		}
		seen[s.Trace] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d traces", len(seen))
	}
}

// TestSampled: who is not sampled at the router is not sampled at the brain.
func TestSampled(t *testing.T) {
	clean(t)
	collector := otlp.Start()
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	brain := tracer(t, "brain")
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0")
	router := tracer(t, "router")
	place := router.Start("", "router place", "s-1")
	brain.Start(place.Parent(), "brain broker", "s-1").End()
	brain.Start("", "brain broker", "s-2").End()
	place.End()
	router.Close()
	brain.Close()
	if place.Recorded() || !Sound(place.Parent()) || len(collector.Spans("session", "s-1")) != 0 || len(collector.Spans("session", "s-2")) != 1 {
		t.Errorf("%q gave %+v", place.Parent(), collector.Spans("session", "s-1"))
	}
}

// TestWrongEnvironment: what is set wrongly is said, by the name of the variable.
func TestWrongEnvironment(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "secret", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10s", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"},
	} {
		t.Run(c.want, func(t *testing.T) {
			clean(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
			t.Setenv(c.name, c.value)
			if tr, err := FromEnv("router", slog.New(slog.DiscardHandler)); err == nil || tr != nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, %v", tr, err)
			}
		})
	}
}

// TestNoCollector: a collector that is not there is told of once, and delays an end by two seconds
// at most.
func TestNoCollector(t *testing.T) {
	clean(t)
	gone := otlp.Start()
	gone.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", gone.URL)
	var said testkit.Buffer
	tr, err := FromEnv("router", slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	tr.Start("", "router place", "s-1").End()
	tr.Close()
	if took := time.Since(began); took > 2*closeWithin || !strings.Contains(said.String(), "traces are lost") {
		t.Errorf("after %s it said:\n%s", took, &said)
	}
}

// TestHostileCollector: one that sends elsewhere does not get a secret sent there, one that hangs delays
// an end by two seconds at most, and what another process says of a failure is cut.
func TestHostileCollector(t *testing.T) {
	clean(t)
	elsewhere := otlp.Start()
	defer elsewhere.Close()
	hang := make(chan struct{})
	hostile := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-hang
			return
		}
		http.Redirect(w, r, elsewhere.URL+"/v1/traces", http.StatusTemporaryRedirect)
	}))
	defer hostile.Close()
	defer close(hang)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
	for _, path := range []string{"/v1/traces", "/hang"} {
		t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", hostile.URL+path)
		var said testkit.Buffer
		tr, err := FromEnv("router", slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		tr.Start("", "router place", "s-1").End()
		began := time.Now()
		tr.Close()
		if took := time.Since(began); took > 2*closeWithin || !strings.Contains(said.String(), "traces are lost") {
			t.Errorf("%s: after %s it said:\n%s", path, took, &said)
		}
	}
	if got := elsewhere.Header(); got != nil {
		t.Errorf("another server got %v", got)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", elsewhere.URL+"/v1/traces")
	tr := tracer(t, "brain")
	span := tr.Start("", "brain claim", "s-2")
	span.Fail(strings.Repeat("ä", maxValue))
	span.End()
	tr.Close()
	if got := elsewhere.Spans("session", "s-2"); len(got) != 1 || len(got[0].Error) != maxValue {
		t.Errorf("the failure is %+v", got)
	}
}
