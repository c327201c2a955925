package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// post sends spans by OTLP over HTTP. OpenTelemetry's own client imports gRPC for a name of a
// message, which makes a stream host 22 MB larger, with all that starts with it; what it sends is
// the same, byte for byte. What a collector does not take at once is lost.
type post struct {
	url    string
	header http.Header
	client http.Client
}

// postTo is the client that the environment asks for.
func postTo(endpoint, name string) (*post, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%s must be http:// or https:// and a host, as http://127.0.0.1:4318", name)
	}
	if name == everything { // else it is the whole URL
		u = u.JoinPath("v1", "traces")
	}
	p := &post{url: u.String(), header: http.Header{}, client: http.Client{
		Timeout: 10 * time.Second,
		// A header may be a secret of this collector.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	headers, name := variable("HEADERS")
	for pair := range strings.SplitSeq(headers, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if value, err = url.PathUnescape(strings.TrimSpace(value)); err != nil || !ok && headers != "" {
			return nil, fmt.Errorf("%s must be key=value,key=value, with %%XX for what a URL has not", name) // it may be a secret
		}
		if ok {
			p.header.Set(strings.TrimSpace(key), value)
		}
	}
	if timeout, name := variable("TIMEOUT"); timeout != "" {
		ms, err := strconv.Atoi(timeout)
		if err != nil || ms <= 0 {
			return nil, fmt.Errorf("%s must be a number of milliseconds, not %q", name, timeout)
		}
		p.client.Timeout = time.Duration(ms) * time.Millisecond
	}
	p.header.Set("Content-Type", "application/x-protobuf")
	return p, nil
}

const (
	prefix = "OTEL_EXPORTER_OTLP_"
	// everything is where traces, metrics and logs go, each to a path of its own.
	everything = prefix + "ENDPOINT"
)

// variable is a variable of the exporter, and its name: the one for traces, or else the one for all.
func variable(suffix string) (value, name string) {
	for _, name = range []string{prefix + "TRACES_" + suffix, prefix + suffix} {
		if value = os.Getenv(name); value != "" {
			break
		}
	}
	return value, name
}

// Start and Stop are for what keeps a connection.
func (*post) Start(context.Context) error { return nil }

func (p *post) Stop(context.Context) error {
	p.client.CloseIdleConnections()
	return nil
}

// UploadTraces sends a batch.
func (p *post) UploadTraces(ctx context.Context, spans []*traces.ResourceSpans) error {
	// It has the one field of ExportTraceServiceRequest, with the same number.
	body, err := proto.Marshal(&traces.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("send spans: %w", err)
	}
	req.Header = p.header.Clone()
	res, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("send spans: %w", err)
	}
	defer res.Body.Close()
	if _, err := io.CopyN(io.Discard, res.Body, 64<<10); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("send spans: %w", err)
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("send spans: the collector answered %s", res.Status)
	}
	return nil
}
