package nomad

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// proxy is between a Client and Nomad. It counts what is asked, and breaks.
type proxy struct {
	URL       string
	server    *httptest.Server
	transport *http.Transport

	mu      sync.Mutex
	asked   map[string]int           // by the first two parts of the path
	filters map[string]string        // the last filter, likewise
	cut     bool                     // nothing passes
	stalled chan struct{}            // not nil: the event stream is not read; closed to go on
	holds   map[string]chan struct{} // not answered yet, by the first two parts of the path
}

func newProxy(t testing.TB, address string) *proxy {
	p := &proxy{asked: map[string]int{}, filters: map[string]string{}, holds: map[string]chan struct{}{}}
	p.transport = &http.Transport{DialContext: (&net.Dialer{}).DialContext}
	reverse := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	reverse.Transport, reverse.FlushInterval = p.transport, -1
	reverse.ErrorHandler = func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) }
	reverse.ModifyResponse = func(resp *http.Response) error {
		if strings.HasPrefix(resp.Request.URL.Path, "/v1/event") {
			resp.Body = &stalling{resp.Body, p}
		}
		return nil
	}
	p.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		part := strings.Split(r.URL.Path, "/")[2]
		p.mu.Lock()
		p.asked[part]++
		p.filters[part] = r.URL.Query().Get("filter")
		cut, hold := p.cut, p.holds[part]
		p.mu.Unlock()
		if cut {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		if hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
				return
			}
		}
		reverse.ServeHTTP(rw, r)
	}))
	p.URL = p.server.URL
	t.Cleanup(func() {
		p.server.CloseClientConnections()
		p.server.Close()
		p.transport.CloseIdleConnections()
	})
	return p
}

// setCut breaks all connections and lets none pass, or lets them pass again.
func (p *proxy) setCut(cut bool) {
	p.mu.Lock()
	p.cut = cut
	p.mu.Unlock()
	if cut {
		p.server.CloseClientConnections()
	}
}

// stall stops reading the event stream until the returned function is called.
func (p *proxy) stall() (goOn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stalled := make(chan struct{})
	p.stalled = stalled
	return sync.OnceFunc(func() { close(stalled) })
}

// hold holds back answers until the returned function is called.
func (p *proxy) hold(part string) (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := make(chan struct{})
	p.holds[part] = held
	return sync.OnceFunc(func() { close(held) })
}

// counts are how often what was asked since the last call.
func (p *proxy) counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = map[string]int{}
	return asked
}

func (p *proxy) count(part string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[part]
}

func (p *proxy) filter(part string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.filters[part]
}

type stalling struct {
	io.ReadCloser
	*proxy
}

func (s *stalling) Read(b []byte) (int, error) {
	s.mu.Lock()
	stalled := s.stalled
	s.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
	return s.ReadCloser.Read(b)
}
