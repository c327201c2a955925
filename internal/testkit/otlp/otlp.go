// Package otlp is an OpenTelemetry collector for tests: it takes spans by OTLP over HTTP, as
// protobuf, and keeps them.
//
//	collector := otlp.Start()
//	defer collector.Close()
//	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
//	…
//	spans := collector.Spans("session", session)
package otlp

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	collect "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"
)

// Span is one span as it came. Attributes that are lists are joined by newlines.
type Span struct {
	Service, Name     string
	Trace, ID, Parent string
	Attributes        map[string]string
	Error             string
	Start, End        time.Time
}

// Collector takes spans.
type Collector struct {
	URL string

	server *httptest.Server
	mu     sync.Mutex
	spans  []Span
	header http.Header
}

// Start starts a collector on loopback.
func Start() *Collector {
	c := &Collector{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", c.take)
	c.server = httptest.NewServer(mux)
	c.URL = c.server.URL
	return c
}

// Close stops it.
func (c *Collector) Close() { c.server.Close() }

// Spans are those that have an attribute, in the order of their beginning.
func (c *Collector) Spans(key, value string) []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Span
	for _, s := range c.spans {
		if s.Attributes[key] == value {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b Span) int { return a.Start.Compare(b.Start) })
	return out
}

// Header is that of the last request.
func (c *Collector) Header() http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.header
}

func (c *Collector) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var said collect.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &said)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header = r.Header
	for _, of := range said.ResourceSpans {
		service := attributes(of.Resource.GetAttributes())["service.name"]
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, Span{
					Service: service, Name: s.Name, Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
					Attributes: attributes(s.Attributes), Error: s.GetStatus().GetMessage(),
					Start: time.Unix(0, int64(s.StartTimeUnixNano)), End: time.Unix(0, int64(s.EndTimeUnixNano)),
				})
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf") // of an empty answer
}

func attributes(all []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, one := range all {
		text := one.GetValue().GetStringValue()
		for i, value := range one.GetValue().GetArrayValue().GetValues() {
			if i > 0 {
				text += "\n"
			}
			text += value.GetStringValue()
		}
		out[one.Key] = text
	}
	return out
}
