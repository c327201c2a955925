package driver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// controlClient is the client of a stream host's control socket.
type controlClient struct {
	http *http.Client
}

// controlTimeout is for requests that a stream host answers at once, also on a
// node that starts many seats.
const controlTimeout = 5 * time.Second

// maxAnswer bounds what a stream host answers: an attacker may have taken it over.
const maxAnswer = 1 << 20

func newControlClient(runDir string) *controlClient {
	socket := filepath.Join(runDir, wire.ControlSocket)
	return &controlClient{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		MaxIdleConns: 1,
	}}}
}

func (c *controlClient) close() { c.http.CloseIdleConnections() }

func (c *controlClient) status(ctx context.Context) (wire.StreamHostStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	var out wire.StreamHostStatus
	res, err := c.do(ctx, http.MethodGet, wire.StatusPath, nil)
	if err != nil {
		return out, fmt.Errorf("get the stream host's status: %w", err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&out); err != nil {
		return out, fmt.Errorf("decode the stream host's status: %w", err)
	}
	return out, nil
}

func (c *controlClient) stop(ctx context.Context, req wire.StopRequest) error {
	return c.post(ctx, wire.StopPath, req)
}

func (c *controlClient) signal(ctx context.Context, name string) error {
	return c.post(ctx, wire.SignalPath, wire.SignalRequest{Signal: name})
}

// events calls yield for each event after the given one, as they come, until the
// stream host closes the stream or ctx ends.
func (c *controlClient) events(ctx context.Context, after int, yield func(wire.StreamHostEvent)) error {
	res, err := c.do(ctx, http.MethodGet, fmt.Sprintf("%s?after=%d", wire.EventsPath, after), nil)
	if err != nil {
		return fmt.Errorf("follow the stream host's events: %w", err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var e wire.StreamHostEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("decode an event of the stream host: %w", err)
		}
		yield(e)
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("follow the stream host's events: %w", err)
	}
	return nil
}

func (c *controlClient) post(ctx context.Context, path string, body any) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	res, err := c.do(ctx, http.MethodPost, path, bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("send %s to the stream host: %w", path, err)
	}
	res.Body.Close()
	return nil
}

// do returns an error for every answer but success, with the stream host's text.
func (c *controlClient) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://seat"+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	var p wire.Problem
	if json.Unmarshal(text, &p) == nil && p.Detail != "" {
		text = []byte(p.Detail)
	}
	return nil, fmt.Errorf("the stream host answered %s: %s", res.Status, strings.TrimSpace(string(text)))
}
