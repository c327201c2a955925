package awsapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// IMDS asks the instance metadata service, by version 2 only.
type IMDS struct {
	Endpoint string // default: http://169.254.169.254
	HTTP     *http.Client

	mu      sync.Mutex
	token   string
	expires time.Time
}

// ErrNoMetadata means that the service answers and has no such thing: there is
// no interruption, say.
var ErrNoMetadata = errors.New("the metadata service has no such thing")

const tokenLife = 6 * time.Hour

var imdsHTTP = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{Proxy: nil}}

// Get is one datum, such as "spot/instance-action" or "public-ipv4".
func (m *IMDS) Get(ctx context.Context, path string) (string, error) {
	for attempt := 0; ; attempt++ {
		token, err := m.session(ctx)
		if err != nil {
			return "", fmt.Errorf("ask metadata for %s: %w", path, err)
		}
		status, text, err := m.do(ctx, http.MethodGet, "/latest/meta-data/"+path, "X-aws-ec2-metadata-token", token)
		switch {
		case err != nil:
			return "", fmt.Errorf("ask metadata for %s: %w", path, err)
		case status == http.StatusOK:
			return strings.TrimSpace(text), nil
		case status == http.StatusNotFound:
			return "", fmt.Errorf("%s: %w", path, ErrNoMetadata)
		case status == http.StatusUnauthorized && attempt == 0:
			m.forget() // the token's time was up early
		default:
			return "", fmt.Errorf("ask metadata for %s: the service says %d", path, status)
		}
	}
}

func (m *IMDS) session(ctx context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.token != "" && time.Now().Before(m.expires) {
		return m.token, nil
	}
	status, text, err := m.do(ctx, http.MethodPut, "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", fmt.Sprint(int(tokenLife.Seconds())))
	if err != nil {
		return "", err
	}
	if status != http.StatusOK {
		return "", fmt.Errorf("the service gives no token: it says %d", status)
	}
	m.token, m.expires = text, time.Now().Add(tokenLife-10*time.Minute)
	return text, nil
}

func (m *IMDS) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.token = ""
}

func (m *IMDS) do(ctx context.Context, method, path, header, value string) (status int, text string, err error) {
	endpoint := m.Endpoint
	if endpoint == "" {
		endpoint = "http://169.254.169.254"
	}
	req, err := http.NewRequestWithContext(ctx, method, endpoint+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set(header, value)
	client := m.HTTP
	if client == nil {
		client = imdsHTTP
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return res.StatusCode, string(body), err
}
